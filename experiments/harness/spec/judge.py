"""From an experiment's runs to its verdicts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

from experiments.harness.spec.experiment import Claim, Experiment, Verdict
from experiments.harness.spec.run import Run


class MissingRunError(Exception):
    """A claim needs a run that is not there, or not complete."""


class _Complete(dict[str, Run]):
    """The complete runs of one seed, by arm."""

    def __missing__(self, arm: str) -> Run:
        raise MissingRunError(arm)


def judge(experiment: Experiment, runs: Sequence[Run]) -> list[Verdict]:
    """Return a verdict for each claim of the experiment, in order; the runs are of one scale.

    A claim is REPRODUCED where every seed's value falls in its bounds, REFUTED where none does,
    INCONCLUSIVE where they straddle, or no seed has all the complete runs that it needs. A value
    that is NaN could not be measured: it reproduces nothing, and by itself refutes nothing.
    """
    by_seed: dict[int, _Complete] = {run.spec.seed: _Complete() for run in runs}
    for run in runs:
        if run.status == "complete":
            by_seed[run.spec.seed][experiment.name_of(run.spec)] = run
    return [_verdict(claim, runs, by_seed) for claim in experiment.claims]


def _verdict(
    claim: Claim, runs: Sequence[Run], by_seed: Mapping[int, Mapping[str, Run]]
) -> Verdict:
    scale = runs[0].spec.scale
    changed = any(run.spec.overrides for run in runs)
    measured: dict[int, float] = {}
    for seed, complete in by_seed.items():
        try:
            measured[seed] = claim.measure(complete)
        except MissingRunError:
            continue
        except KeyError:  # the user's changes may have taken a column away
            if not changed:
                raise
    values = {seed: value for seed, value in measured.items() if not isnan(value)}
    low, high = claim.bounds_at(scale)
    inside = [low <= value <= high for value in values.values()]
    missing, unmeasured = len(by_seed) - len(measured), len(measured) - len(values)
    notes = [
        f"{sum(inside)} of {len(inside)} seeds within" * (0 < sum(inside) < len(inside)),
        f"runs missing for {missing} of {len(by_seed)} seeds" * bool(missing),
        f"not measurable for {unmeasured} of {len(by_seed)} seeds" * bool(unmeasured),
        "mini" * (scale == "mini"),
        "STAND-IN DATA" * any(run.spec.dataset["stand_in"] for run in runs),
        "arms changed" * changed,
    ]
    note = ", ".join(filter(None, notes))
    if inside and not any(inside):
        return Verdict(claim, values, "REFUTED", note)
    reproduced = bool(inside) and all(inside) and not unmeasured
    return Verdict(claim, values, "REPRODUCED" if reproduced else "INCONCLUSIVE", note)
