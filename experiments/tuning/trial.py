"""A trial: an arm with the values chosen by an oracle, trained for one seed or several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.harness.execution.task import Task
from experiments.harness.runtime import log
from experiments.harness.spec import Dimension, Run, RunSpec, search_space
from experiments.harness.spec.overrides import override
from experiments.harness.study import train_task
from experiments.harness.training.options import TrainOptions
from experiments.tuning.objectives import OBJECTIVES

FUNCTION = f"{__name__}:train"
EARLY_SHARE = 0.1  # the share of a run after which the objective is also reported
EPOCHS_KEY = "tuner/epochs"  # Hyperband's name for the number of intervals of a trial


@dataclass(frozen=True)
class Outcome:
    """The results of a trial, a value for each seed in order; JSON types.

    ``curves``: the objective on the validation split after each interval, None if nonfinite.
    ``diverged``: the last step of the interval in which a loss became nonfinite, None if none did.
    ``score``: the mean of the last values, with the objective's worst value for diverged runs; None
    if a run diverged and the objective is unbounded: such a trial's score depends on the others'.
    """

    score: float | None
    curves: Sequence[Sequence[float | None]]
    diverged: Sequence[int | None]
    fingerprints: Sequence[str]

    @property
    def has_diverged(self) -> bool:
        """Whether any of the runs diverged."""
        return any(step is not None for step in self.diverged)

    def summary(self, objective: str) -> str:
        """Return the score, or the steps by which the runs diverged, as a short text."""
        steps = [str(step) for step in self.diverged if step is not None]
        if steps or self.score is None:
            return f"diverged by step {', '.join(steps)}"
        return f"{objective} {self.score:.4g}"

    def after(self, share: float) -> float | None:
        """Return the mean objective after that share of the intervals, None if nonfinite."""
        values = [curve[max(1, round(share * len(curve))) - 1] for curve in self.curves]
        finite = [value for value in values if value is not None]
        return math.fsum(finite) / len(values) if len(finite) == len(values) else None


@dataclass(frozen=True)
class TrialTrainer:
    """Trains trials as variations of ``template``, the run of the base arm for the first seed.

    Each trial is trained for ``executions`` seeds, from the template's on.
    """

    template: RunSpec
    space: Sequence[Dimension]
    objective: str
    executions: int

    def overrides(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a trial's values as overrides of the arm, added to the template's own."""
        return {**self.template.overrides, **search_space.to_overrides(self.space, values)}

    def specs(self, values: Mapping[str, Any]) -> list[RunSpec]:
        """Return the runs of the trial with those values."""
        overrides = self.overrides(values)
        arm = override(self.template.arm, overrides)
        seeds = range(self.template.seed, self.template.seed + self.executions)
        return [replace(self.template, arm=arm, overrides=overrides, seed=seed) for seed in seeds]

    def task(
        self,
        number: int,
        values: Mapping[str, Any],
        logdir: Path,
        source: str,
        telemetry_every: int | None = None,
    ) -> Task:
        """Return the task of training a trial, whose result is its outcome as JSON types."""
        intervals = values.get(EPOCHS_KEY)
        options = TrainOptions(stop_after=intervals, telemetry_every=telemetry_every)
        task = train_task.task(
            self.specs(values),
            logdir,
            source,
            options,
            FUNCTION,
            number=number,
            objective=self.objective,
            intervals=intervals,
        )
        return replace(task, name=f"trial {number}")


def train(
    specs: Sequence[Mapping[str, Any]],
    logdir: str,
    source: str,
    options: Mapping[str, Any],
    number: int,
    objective: str,
    intervals: int | None,
) -> dict[str, Any]:
    """Train or load a trial's runs; return its outcome as JSON types."""
    with log.quiet(), log.prefixed(f"trial {number}: "):  # the search logs each trial
        runs = [
            train_task.train_when_free(spec, Path(logdir), source, options)
            for spec in map(train_task.spec_from_json, specs)
        ]
    return asdict(summarize_runs(runs, objective, intervals))


def summarize_runs(runs: Sequence[Run], objective: str, intervals: int | None = None) -> Outcome:
    """Return the outcome of runs after ``intervals`` intervals, by default all of them."""
    curves, diverged, last = [], [], []
    target = OBJECTIVES[objective]
    for run in runs:
        rows = run.history.rows[:intervals]
        finite = run.history.finite[:intervals]
        step = int(rows[finite.index(False)]["step"]) if False in finite else None
        values = [row[f"test_{objective}"] for row in rows]
        curve = [value if math.isfinite(value) else None for value in values]
        curves.append(curve)
        diverged.append(step)
        last.append(target.worst if step is not None or curve[-1] is None else curve[-1])
    score = math.fsum(last) / len(last)
    fingerprints = [run.chain[len(curve)] for run, curve in zip(runs, curves, strict=True)]
    return rescore(Outcome(score, curves, diverged, fingerprints), objective)


def rescore(outcome: Outcome, objective: str) -> Outcome:
    """Return an outcome with its score under an unbounded objective; older ones have 10 at most."""
    if OBJECTIVES[objective].bounded:
        return outcome
    return replace(outcome, score=None if outcome.has_diverged else outcome.after(1.0))


def scores(outcomes: Mapping[int, Outcome], objective: str) -> dict[int, float]:
    """Return the scores of trials, by number; those that diverged are the worst."""
    finite = {n: each.score for n, each in outcomes.items() if each.score is not None}
    diverged_score = OBJECTIVES[objective].diverged_score(finite.values())
    return {number: finite.get(number, diverged_score) for number in outcomes}
