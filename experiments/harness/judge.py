"""From an experiment's runs to its verdicts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from experiments.harness.spec import Claim, Experiment, Run, Scale, Verdict


def judge(experiment: Experiment, runs: Iterable[Run]) -> list[Verdict]:
    """Return a verdict for each claim of the experiment, in order; the runs are of one scale.

    A claim is REPRODUCED where every seed's value falls in its bounds, REFUTED where none does,
    INCONCLUSIVE where they straddle or no seed has all the complete runs that it needs.
    """
    runs = list(runs)
    by_seed: dict[int, dict[str, Run]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, {})[run.arm_name] = run
    return [_verdict(claim, runs[0].scale, by_seed) for claim in experiment.claims]


def _verdict(claim: Claim, scale: Scale, by_seed: Mapping[int, Mapping[str, Run]]) -> Verdict:
    values = {}
    for seed, runs in by_seed.items():
        complete = {name: run for name, run in runs.items() if run.status == "complete"}
        try:
            values[seed] = claim.measure(complete)
        except KeyError:
            continue
    low, high = claim.bounds_at(scale)
    inside = [low <= value <= high for value in values.values()]
    if not inside:
        return Verdict(claim, values, "INCONCLUSIVE", "runs missing")
    if all(inside):
        return Verdict(claim, values, "REPRODUCED")
    if not any(inside):
        return Verdict(claim, values, "REFUTED")
    return Verdict(claim, values, "INCONCLUSIVE", f"{sum(inside)} of {len(inside)} seeds within")
