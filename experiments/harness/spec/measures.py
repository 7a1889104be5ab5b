"""What claims measure: each function returns a measure over the runs of one seed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf, isfinite, nan
from statistics import fmean

from experiments.harness.spec.experiment import Measure
from experiments.harness.spec.run import Run

# exp(-87.34) is float32's smallest normal number, and the softmax's denominator is 1 to 10: where
# denormals are flushed to 0, an output underflows at a logit gap of 87.34 - ln 10 at the least.
UNDERFLOW = 85.0


def first_nan(arm: str) -> Measure:
    """The first interval whose training or test loss is not finite, from 1; infinity if none."""
    return lambda runs: _first(not finite for finite in _finite(runs[arm]))


def nan_intervals(arm: str) -> Measure:
    """The number of intervals whose training or test loss is not finite."""
    return lambda runs: sum(not finite for finite in _finite(runs[arm]))


def first_above(arm: str, column: str, bound: float) -> Measure:
    """The first interval at which ``column`` exceeds ``bound``, from 1; infinity if none."""
    return lambda runs: _first(value > bound for value in runs[arm].history[column])


def final(arm: str, column: str) -> Measure:
    """The value of ``column`` after the last interval."""
    return lambda runs: runs[arm].history[column][-1]


def at(arm: str, column: str, interval: int) -> Measure:
    """The value of ``column`` after that interval, from 1; NaN where the run is shorter."""

    def measure(runs: Mapping[str, Run]) -> float:
        values = runs[arm].history[column]
        return values[interval - 1] if interval <= len(values) else nan

    return measure


def at_share(arm: str, column: str, share: float) -> Measure:
    """The value of ``column`` after that share of the arm's intervals."""

    def measure(runs: Mapping[str, Run]) -> float:
        values = runs[arm].history[column]
        return values[max(1, round(share * len(values))) - 1]

    return measure


def nan_share(arm: str) -> Measure:
    """After what share of its intervals the arm turned NaN; infinity if it did not."""
    return lambda runs: first_nan(arm)(runs) / runs[arm].intervals


def constant(value: float) -> Measure:
    """A number that no run decides; a test holds it to its source."""
    return lambda _: value


def initial(arm: str, name: str) -> Measure:
    """What ``name`` was before the first step."""
    return lambda runs: runs[arm].initial[name]


def last_finite(arm: str, column: str) -> Measure:
    """The value of ``column`` after the last interval before the first that is not finite."""

    def measure(runs: Mapping[str, Run]) -> float:
        before = finite_intervals(runs[arm])
        return runs[arm].history[column][before - 1] if before else nan

    return measure


def at_first_nan(arm: str, column: str) -> Measure:
    """The value of ``column`` for the first interval that is not finite; NaN where all are."""

    def measure(runs: Mapping[str, Run]) -> float:
        before = finite_intervals(runs[arm])
        values = runs[arm].history[column]
        return values[before] if before < len(values) else nan

    return measure


def largest(arm: str, column: str) -> Measure:
    """The largest finite value of ``column``."""
    return lambda runs: max(filter(isfinite, runs[arm].history[column]), default=-inf)


def smallest(arm: str, column: str) -> Measure:
    """The smallest finite value of ``column``."""
    return lambda runs: min(filter(isfinite, runs[arm].history[column]), default=inf)


def mean(arm: str, column: str) -> Measure:
    """The mean of the finite values of ``column``; NaN where there are none."""

    def measure(runs: Mapping[str, Run]) -> float:
        values = list(filter(isfinite, runs[arm].history[column]))
        return fmean(values) if values else nan

    return measure


def max_distance(a: str, b: str, column: str) -> Measure:
    """The largest distance between the two arms' ``column`` at the same interval."""

    def measure(runs: Mapping[str, Run]) -> float:
        pairs = zip(runs[a].history[column], runs[b].history[column], strict=True)
        return max(abs(x - y) for x, y in pairs)

    return measure


def ratio(a: Measure, b: Measure) -> Measure:
    """What ``a`` measures by what ``b`` measures; NaN where that is 0."""

    def measure(runs: Mapping[str, Run]) -> float:
        above, below = a(runs), b(runs)
        return above / below if below else nan

    return measure


def per_layer(first: Measure, last: Measure, layers: int) -> Measure:
    """The mean factor a layer by which ``first`` became ``last`` over so many; NaN from 0."""

    def measure(runs: Mapping[str, Run]) -> float:
        begin, end = first(runs), last(runs)
        return (end / begin) ** (1 / layers) if begin > 0 else nan

    return measure


def least_of(*measures: Measure) -> Measure:
    """The smallest of what the measures measure."""
    return lambda runs: min(measure(runs) for measure in measures)


def largest_of(*measures: Measure) -> Measure:
    """The largest of what the measures measure."""
    return lambda runs: max(measure(runs) for measure in measures)


def difference(a: Measure, b: Measure) -> Measure:
    """What ``a`` measures less what ``b`` measures."""
    return lambda runs: a(runs) - b(runs)


def finite_intervals(run: Run) -> int:
    """Return how many intervals went by before a training or test loss was not finite."""
    return [*_finite(run), False].index(False)


def _finite(run: Run) -> list[bool]:
    losses = zip(run.history["loss"], run.history["test_loss"], strict=True)
    return [isfinite(train) and isfinite(test) for train, test in losses]


def _first(true: Iterable[bool]) -> float:
    return next((number for number, value in enumerate(true, 1) if value), inf)
