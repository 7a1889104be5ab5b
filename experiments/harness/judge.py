"""From an experiment's runs to its verdicts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.harness.spec import Claim, Experiment, Run, Verdict


class MissingRunError(Exception):
    """A claim needs a run that is not there, or not complete."""


class _Complete(dict[str, Run]):
    """The complete runs of one seed, by arm."""

    def __missing__(self, arm: str) -> Run:
        raise MissingRunError(arm)


def judge(experiment: Experiment, runs: Sequence[Run]) -> list[Verdict]:
    """Return a verdict for each claim of the experiment, in order; the runs are of one scale.

    A claim is REPRODUCED where every seed's value falls in its bounds, REFUTED where none does,
    INCONCLUSIVE where they straddle or no seed has all the complete runs that it needs.
    """
    by_seed: dict[int, _Complete] = {run.seed: _Complete() for run in runs}
    for run in runs:
        if run.status == "complete":
            by_seed[run.seed][experiment.named(run)] = run
    return [_verdict(claim, runs, by_seed) for claim in experiment.claims]


def _verdict(
    claim: Claim, runs: Sequence[Run], by_seed: Mapping[int, Mapping[str, Run]]
) -> Verdict:
    scale = runs[0].scale
    values = {}
    for seed, complete in by_seed.items():
        try:
            values[seed] = claim.measure(complete)
        except MissingRunError:
            continue
    low, high = claim.bounds_at(scale)
    inside = [low <= value <= high for value in values.values()]
    missing = len(by_seed) - len(values)
    notes = [
        f"{sum(inside)} of {len(inside)} seeds within" * (0 < sum(inside) < len(inside)),
        f"runs missing for {missing} of {len(by_seed)} seeds" * bool(missing),
        "mini" * (scale == "mini"),
        "STAND-IN DATA" * any(run.dataset["stand_in"] for run in runs),
        "arms changed" * any(bool(run.changes) for run in runs),
    ]
    note = ", ".join(filter(None, notes))
    if not inside or 0 < sum(inside) < len(inside):
        return Verdict(claim, values, "INCONCLUSIVE", note)
    return Verdict(claim, values, "REPRODUCED" if all(inside) else "REFUTED", note)
