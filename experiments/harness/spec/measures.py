"""Measures for claims: each function returns a measure of the runs of one seed. Pure.

An interval is non-finite if its training or test loss is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice, takewhile
from math import inf, isfinite, isnan, log, nan
from statistics import fmean, linear_regression

from experiments.harness.spec.claim import Measure
from experiments.harness.spec.run import Run

# Measured on TensorFlow and JAX: a softmax output is 0 from this logit gap on if one logit stands
# out (from 85.1 if the other nine tie). exp(-87.34) is float32's smallest normal number; smaller
# ones are flushed to 0. PyTorch keeps them: there it is 104.
UNDERFLOW = 87.3


def first_nan(arm: str) -> Measure:
    """Measure the first interval with a non-finite loss, from 1; infinity if none."""
    return lambda runs: _first_true(not finite for finite in runs[arm].history.finite)


def nan_intervals(arm: str) -> Measure:
    """Measure the number of intervals with a non-finite loss."""
    return lambda runs: sum(not finite for finite in runs[arm].history.finite)


def first_above(arm: str, column: str, bound: float) -> Measure:
    """Measure the first interval with ``column`` above ``bound``, from 1; infinity if none."""
    return lambda runs: _first_true(value > bound for value in runs[arm].history[column])


def first_above_or_nan(arm: str, column: str, bound: float) -> Measure:
    """Measure as ``first_above`` does; NaN if a loss is non-finite first: it might have passed."""

    def measure(runs: Mapping[str, Run]) -> float:
        first = first_above(arm, column, bound)(runs)
        return nan if first == inf and not all(runs[arm].history.finite) else first

    return measure


def final(arm: str, column: str) -> Measure:
    """Measure ``column`` after the last interval."""
    return lambda runs: runs[arm].history[column][-1]


def at(arm: str, column: str, interval: int) -> Measure:
    """Measure ``column`` after an interval, from 1; NaN if the run is shorter."""

    return lambda runs: next(islice(runs[arm].history[column], interval - 1, None), nan)


def at_share(arm: str, column: str, share: float) -> Measure:
    """Measure ``column`` after a share of the run's intervals, from 0 to 1."""

    def measure(runs: Mapping[str, Run]) -> float:
        interval = max(1, round(share * runs[arm].spec.arm.intervals))
        return runs[arm].history[column][interval - 1]

    return measure


def nan_share(arm: str) -> Measure:
    """Measure the share of the intervals after which the arm turned NaN; infinity if it did not."""
    return lambda runs: first_nan(arm)(runs) / runs[arm].spec.arm.intervals


def initial(arm: str, name: str) -> Measure:
    """Measure the metric ``name`` before the first step."""
    return lambda runs: runs[arm].initial[name]


def last_finite(arm: str, column: str, until: str | None = None) -> Measure:
    """Measure ``column`` after the last interval before the first non-finite one; NaN if none.

    If all intervals are finite, after the last. ``until``: another arm; the earlier NaN of the two
    counts.
    """

    def measure(runs: Mapping[str, Run]) -> float:
        before = finite_intervals(runs[arm], runs[until or arm])
        return runs[arm].history[column][before - 1] if before else nan

    return measure


def at_first_nan(arm: str, column: str) -> Measure:
    """Measure ``column`` after the first non-finite interval; NaN if there is none."""

    def measure(runs: Mapping[str, Run]) -> float:
        before = finite_intervals(runs[arm])
        return next(islice(runs[arm].history[column], before, None), nan)

    return measure


def largest(arm: str, column: str) -> Measure:
    """Measure the largest finite value of ``column``; minus infinity if there is none."""
    return lambda runs: max(filter(isfinite, runs[arm].history[column]), default=-inf)


def if_finite(arm: str, measure: Measure) -> Measure:
    """Measure what ``measure`` does; NaN if a loss of ``arm`` is not finite."""
    return lambda runs: nan if nan_intervals(arm)(runs) else measure(runs)


def smallest(arm: str, column: str) -> Measure:
    """Measure the smallest finite value of ``column``; infinity if there is none."""
    return lambda runs: min(filter(isfinite, runs[arm].history[column]), default=inf)


def mean(arm: str, column: str) -> Measure:
    """Measure the mean of the finite values of ``column``; NaN if there are none."""

    def measure(runs: Mapping[str, Run]) -> float:
        values = list(filter(isfinite, runs[arm].history[column]))
        return fmean(values) if values else nan

    return measure


def max_distance(a: str, b: str, column: str) -> Measure:
    """Measure the largest distance between two arms' ``column`` at the same interval."""

    def measure(runs: Mapping[str, Run]) -> float:
        pairs = zip(runs[a].history[column], runs[b].history[column], strict=True)
        return max(abs(x - y) for x, y in pairs)

    return measure


def ratio(a: Measure, b: Measure) -> Measure:
    """Measure ``a`` divided by ``b``; NaN if ``b`` is 0."""

    def measure(runs: Mapping[str, Run]) -> float:
        numerator, denominator = a(runs), b(runs)
        return numerator / denominator if denominator else nan

    return measure


def growth_rate(arm: str, column: str, low: float, high: float) -> Measure:
    """Measure the slope of a column's logarithm per step (least squares).

    Over the values from ``low`` to ``high`` before the first above ``high``; NaN if fewer than
    three.
    """

    def measure(runs: Mapping[str, Run]) -> float:
        history = runs[arm].history
        rows = zip(history["step"], history[column], strict=True)
        before = takewhile(lambda row: row[1] <= high, rows)
        points = [(step, log(value)) for step, value in before if value >= low]
        return linear_regression(*zip(*points, strict=True)).slope if len(points) > 2 else nan

    return measure


def steps_to_grow(rate: Measure, start: float, end: float) -> Measure:
    """Measure in how many steps ``start`` grows to ``end`` at a ``growth_rate``.

    Infinity if the rate is not above 0, NaN if it is NaN.
    """

    def measure(runs: Mapping[str, Run]) -> float:
        per_step = rate(runs)
        return inf if per_step <= 0 else log(end / start) / per_step

    return measure


def per_layer(first: Measure, last: Measure, layers: int) -> Measure:
    """Measure the mean factor per layer from ``first`` to ``last``; NaN if ``first`` is 0."""

    def measure(runs: Mapping[str, Run]) -> float:
        start, end = first(runs), last(runs)
        return (end / start) ** (1 / layers) if start > 0 else nan

    return measure


def least_of(*measures: Measure) -> Measure:
    """Measure the smallest of several measures; NaN if one of them is."""
    return lambda runs: _unless_nan(min, [measure(runs) for measure in measures])


def largest_of(*measures: Measure) -> Measure:
    """Measure the largest of several measures; NaN if one of them is."""
    return lambda runs: _unless_nan(max, [measure(runs) for measure in measures])


def largest_known(*measures: Measure) -> Measure:
    """Measure the largest of the measures that are not NaN; NaN if all are."""

    def measure(runs: Mapping[str, Run]) -> float:
        return max((v for m in measures if not isnan(v := m(runs))), default=nan)

    return measure


def difference(a: Measure, b: Measure) -> Measure:
    """Measure ``a`` minus ``b``."""
    return lambda runs: a(runs) - b(runs)


def _unless_nan(choose: Callable[[list[float]], float], values: list[float]) -> float:
    return nan if any(map(isnan, values)) else choose(values)


def finite_intervals(*runs: Run) -> int:
    """Return the number of intervals before the first that is non-finite in any of the runs."""
    finite = zip(*(run.history.finite for run in runs), strict=False)
    return sum(1 for _ in takewhile(all, finite))


def _first_true(flags: Iterable[bool]) -> float:
    """Return the number of the first true value, from 1; infinity if there is none."""
    return next((number for number, flag in enumerate(flags, 1) if flag), inf)
