"""Judge an experiment's claims by its runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan

from experiments.harness.spec.arm import Arm
from experiments.harness.spec.claim import Claim, Measure, Outcome, Verdict
from experiments.harness.spec.experiment import Experiment
from experiments.harness.spec.run import NotReachedError, Run, UnfinishedHistory

STAND_IN_NOTE = "STAND-IN DATA"
MISSING_NOTE = "runs missing for"
UNFINISHED_NOTE = "runs too short for"
CHANGED_NOTE = "arms changed"
LATE_NOTE = "bounds set after the runs"


class MissingRunError(Exception):
    """A claim needs a run that is missing, or has no interval."""


class _Runs(dict[str, Run]):
    """The runs of one seed, by arm; ``read`` has those that a measure looked at."""

    def __init__(self, runs: Mapping[str, Run]) -> None:
        super().__init__(runs)
        self.read: list[Run] = []

    def __getitem__(self, arm: str) -> Run:
        if arm not in self:
            raise MissingRunError(arm)
        self.read.append(super().__getitem__(arm))
        return self.read[-1]


def judge(experiment: Experiment, runs: Sequence[Run]) -> list[Verdict]:
    """Return a verdict for each claim of the experiment, in order, from runs of one scale.

    A claim is REPRODUCED if every seed's value is within its bounds, REFUTED if none is, and
    INCONCLUSIVE if only some are, or if no seed has the runs that the claim needs. A value of NaN
    could not be measured: the claim is then not REPRODUCED, and a seed without a value does not
    count towards REFUTED. A run that is not complete, or to which overrides gave fewer intervals,
    counts for what its intervals decide; where they do not, the claim is INCONCLUSIVE, whatever
    the other seeds say. Only runs of the document's own arms, size and data can refute it: from
    others the verdict is DIFFERS. A claim about a number needs no run.
    """
    known: dict[int, dict[str, Run]] = {run.spec.seed: {} for run in runs}
    for run in runs:
        if run.history.rows:
            name = experiment.name_of(run.spec)
            whole = experiment.at[run.spec.scale][name]
            known[run.spec.seed][name] = _as_far_as_trained(run, whole)
    return [
        _verdict(claim, runs, {seed: _Runs(of_seed) for seed, of_seed in known.items()})
        for claim in experiment.claims
    ]


def _as_far_as_trained(run: Run, whole: Arm) -> Run:
    """Return a run whose history says where it ends, if that is before the end of the arm."""
    if run.status == "complete" and run.spec.arm.intervals >= whole.intervals:
        return run
    intervals = max(run.spec.arm.intervals, whole.intervals)  # for shares of the run
    planned = replace(run.spec.arm, intervals=intervals)
    spec = replace(run.spec, arm=planned)
    return replace(run, spec=spec, history=UnfinishedHistory(run.history.rows))


def _verdict(claim: Claim, runs: Sequence[Run], by_seed: Mapping[int, _Runs]) -> Verdict:
    if not callable(claim.measure):
        return _verdict_on_number(claim, claim.measure, runs[0].spec.seed)
    scale = runs[0].spec.scale
    changed = any(run.spec.overrides for run in runs)
    measured, unfinished = _measure_seeds(claim.measure, by_seed, changed)
    values = {seed: value for seed, value in measured.items() if not isnan(value)}
    inside = [claim.holds(value, scale) for value in values.values()]
    missing = len(by_seed) - len(measured) - unfinished
    unmeasured = len(measured) - len(values)
    unlike = {  # what keeps runs from refuting a document
        scale: scale != "full",
        STAND_IN_NOTE: any(run.spec.dataset["stand_in"] for run in runs),
        CHANGED_NOTE: changed,
    }
    notes = {
        f"{sum(inside)} of {len(inside)} seeds within": 0 < sum(inside) < len(inside),
        f"{MISSING_NOTE} {missing} of {len(by_seed)} seeds": missing > 0,
        f"{UNFINISHED_NOTE} {unfinished} of {len(by_seed)} seeds": unfinished > 0,
        f"not measurable for {unmeasured} of {len(by_seed)} seeds": unmeasured > 0,
        **unlike,
        LATE_NOTE: any(
            "" < run.known_since < claim.set_on
            for of_seed in by_seed.values()
            for run in of_seed.read
        ),
    }
    note = ", ".join(text for text, applies in notes.items() if applies)
    if inside and not any(inside) and not unfinished:
        return Verdict(claim, values, "DIFFERS" if any(unlike.values()) else "REFUTED", note)
    reproduced = bool(inside) and all(inside) and not unmeasured and not unfinished
    return Verdict(claim, values, "REPRODUCED" if reproduced else "INCONCLUSIVE", note)


def _verdict_on_number(claim: Claim, number: float, seed: int) -> Verdict:
    """Return the verdict on a claim that needs no run; its value is given for one seed."""
    outcome: Outcome = "REPRODUCED" if claim.holds(number, "full") else "REFUTED"
    return Verdict(claim, {seed: number}, outcome)


def _measure_seeds(
    measure: Measure, by_seed: Mapping[int, Mapping[str, Run]], changed: bool
) -> tuple[dict[int, float], int]:
    """Return the value for each seed that has the runs, and how many have runs that are too short.

    ``changed``: the arms are under user overrides.
    """
    measured: dict[int, float] = {}
    unfinished = 0
    for seed, runs in by_seed.items():
        try:
            measured[seed] = measure(runs)
        except MissingRunError:
            continue
        except NotReachedError:
            unfinished += 1
        except KeyError:  # overrides may have removed a column
            if not changed:
                raise
    return measured, unfinished
