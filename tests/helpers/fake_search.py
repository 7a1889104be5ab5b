"""A search whose trials are not trained: the outcome is a formula of the trial's values."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from experiments import catalog
from experiments.harness.execution.task import Answer, Task
from experiments.harness.execution.task_queue import TaskQueue
from experiments.harness.spec import Dimension, RunSpec
from experiments.harness.spec.overrides import resolve
from experiments.harness.spec.search_space import DEFAULT_SPACE
from experiments.tuning.objectives import OBJECTIVES
from experiments.tuning.oracles import build, values_of
from experiments.tuning.replayable_oracle import ReplayableOracle, Skip, skip_none
from experiments.tuning.search import FinishedTrial, Search
from experiments.tuning.trial import EPOCHS_KEY, Outcome, TrialTrainer

Train = Callable[[Mapping[str, Any]], Outcome]
WORST = {name: objective.worst for name, objective in OBJECTIVES.items()}
OVERRIDES = {"held_out": 0, "intervals": 9}


def make_search(
    oracle: str,
    *,
    trials: int = 14,
    space: tuple[Dimension, ...] = DEFAULT_SPACE,
    objective: str = "accuracy",
    seed: int = 0,
    executions: int = 1,
) -> Search:
    template = RunSpec(
        experiment="init_std_sweep",
        arm_name="std_0.1",
        arm=resolve(catalog.load("init_std_sweep"), "std_0.1", "mini", OVERRIDES),
        seed=seed,
        scale="mini",
        dataset={"name": "none", "sha256": "0", "stand_in": True},
        environment={"backend": "none", "cpu": "none"},
        overrides=OVERRIDES,
    )
    return Search(TrialTrainer(template, space, objective, executions), oracle, trials)


def formula(values: Mapping[str, Any]) -> Outcome:
    """Return the outcome: best at a rate of 1e-2 and a std of 0.1; above 0.05 it diverges."""
    rate = values["optimizer.learning_rate"]
    std = values.get("network.kernel_initializer.stddev", 0.05)
    intervals = values.get(EPOCHS_KEY, 9)
    if rate > 0.05:
        return Outcome(WORST["accuracy"], [[0.1, None]], [50], ["f"])
    final = 1 / (1 + math.log10(rate / 1e-2) ** 2 + math.log10(std / 0.1) ** 2)
    curve = [final * (k + 1) / intervals for k in range(intervals)]
    return Outcome(curve[-1], [curve], [None], [f"{final:.6f}"])


def values_in(task: Task) -> dict[str, Any]:
    """Return a trial's values from its task."""
    values = dict(task.arguments["specs"][0]["overrides"])
    if task.arguments["intervals"] is not None:
        values[EPOCHS_KEY] = task.arguments["intervals"]
    return values


class FakeExecutor:
    """An executor that calls a function of the trial's values: ``jobs`` tasks at a time.

    Their answers come in a random order. ``most`` is the largest number that ran at a time.
    """

    def __init__(self, train: Train = formula, jobs: int = 1, seed: int = 0) -> None:
        self.train, self.jobs, self.random = train, jobs, random.Random(seed)
        self.most = 0

    def run(self, tasks):
        queue, running = TaskQueue(tasks), []
        while True:
            while len(running) < self.jobs and (task := queue.take()):
                running.append(task)
            self.most = max(self.most, len(running))
            if not running:
                queue.check_progress()
                return
            task = running.pop(self.random.randrange(len(running)))
            queue.end(task)
            yield Answer(task, "answered", asdict(self.train(values_in(task))))


def run(
    search: Search,
    train: Train = formula,
    known: dict[int, FinishedTrial] | None = None,
    skip: Skip = skip_none,
) -> dict[int, FinishedTrial]:
    """Train all but the ``known`` trials one by one; add them to ``known`` in any case."""
    known = {} if known is None else known
    oracle = build(search, {n: trial.outcome for n, trial in known.items()}, skip)
    try:
        while trial := oracle.next_trial():
            oracle.record(int(trial.trial_id), train(values_of(search, trial)))
        assert oracle.exhausted
    finally:
        known.update(finished_trials(search, oracle))
    return known


def finished_trials(search: Search, oracle: ReplayableOracle) -> dict[int, FinishedTrial]:
    return {
        number: FinishedTrial(values_of(search, oracle.trials[key]), oracle.outcomes[number])
        for key in oracle.trials
        if (number := int(key)) in oracle.outcomes
    }
