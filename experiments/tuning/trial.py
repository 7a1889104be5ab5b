"""A trial: an arm with the values that an oracle chose, trained for each of a few seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import Dimension, Run, search_space
from experiments.harness.spec.overrides import override
from experiments.harness.study import run_one
from experiments.harness.study.run_one import Tell
from experiments.tuning.objectives import OBJECTIVES

EARLY = 0.1  # the share of a run after which it is looked at, too
EPOCHS = "tuner/epochs"  # what Hyperband calls the intervals that a trial is trained for


@dataclass(frozen=True)
class Outcome:
    """What a trial came to, for each seed in order; JSON types.

    ``curves`` are the objective on the validation split after each interval, None where it is not
    finite; ``diverged`` the last step of the interval in which a loss stopped being finite, None
    where none did; ``score`` the mean of the last values, the worst taken for those that diverged.
    """

    score: float
    curves: Sequence[Sequence[float | None]]
    diverged: Sequence[int | None]
    fingerprints: Sequence[str]

    def after(self, share: float) -> float | None:
        """Return the mean of the objective after that share of the intervals, if it is finite."""
        at = [curve[max(1, round(share * len(curve))) - 1] for curve in self.curves]
        return None if None in at else math.fsum(v for v in at if v is not None) / len(at)


@dataclass(frozen=True)
class TrialTrainer:
    """What it takes to train a trial: the run that it varies, and its data.

    ``template`` is the run of the base arm for the first seed; ``executions`` are the seeds from
    there on.
    """

    template: Run
    space: Sequence[Dimension]
    objective: str
    executions: int

    def changes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return those values as an arm's overrides, with the base arm's own."""
        return {**self.template.changes, **search_space.to_overrides(self.space, values)}

    def runs(self, values: Mapping[str, Any]) -> list[Run]:
        """Return the runs that make up the trial with those values."""
        changes = self.changes(values)
        arm = override(self.template.arm, changes)
        seeds = range(self.template.seed, self.template.seed + self.executions)
        return [replace(self.template, arm=arm, changes=changes, seed=seed) for seed in seeds]

    def train(
        self,
        values: Mapping[str, Any],
        logdir: Path,
        dataset: Dataset,
        *,
        telemetry: int | None = None,
        tell: Tell = print,
    ) -> Outcome:
        """Make the trial's runs, or find them made, and return what they came to."""
        intervals = values.get(EPOCHS)
        options: dict[str, Any] = {"intervals": intervals, "telemetry": telemetry, "tell": tell}
        runs = [run_one.train_or_load(run, logdir, dataset, **options) for run in self.runs(values)]
        return summarize_runs(runs, self.objective, intervals)


def summarize_runs(runs: Sequence[Run], objective: str, intervals: int | None = None) -> Outcome:
    """Return what runs came to after so many intervals, all of them where None. Pure."""
    curves, diverged, last = [], [], []
    sign, worst = OBJECTIVES[objective].sign, OBJECTIVES[objective].worst
    for run in runs:
        history = {name: values[:intervals] for name, values in run.history.items()}
        losses = zip(history["step"], history["loss"], history["test_loss"], strict=True)
        broken = next((int(step) for step, *both in losses if not all(map(math.isfinite, both))),
                      None)  # fmt: skip
        curve = [value if math.isfinite(value) else None for value in history[f"test_{objective}"]]
        curves.append(curve)
        diverged.append(broken)
        value = worst if broken is not None else curve[-1]
        last.append(worst if value is None else value)
    score = sign * min(sign * math.fsum(last) / len(last), sign * worst)
    fingerprints = [run.chain[len(curve)] for run, curve in zip(runs, curves, strict=True)]
    return Outcome(score, curves, diverged, fingerprints)
