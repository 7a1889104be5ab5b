"""The harness as a user runs it: deterministic, resumable, hashed, with TensorBoard events."""

from __future__ import annotations

import tempfile
from pathlib import Path

from experiments.benchmarks.baselines.round_callback import RoundCallback
from experiments.benchmarks.rounds import Rounds
from experiments.benchmarks.task import SEED, Task
from experiments.harness.runtime import determinism
from experiments.harness.spec import Run, RunSpec
from experiments.harness.training import trainer
from experiments.harness.training.options import TrainOptions


def train(task: Task, rounds: Rounds) -> None:
    """Train a run of the arm, one interval per round."""
    spec = RunSpec(
        experiment="benchmark",
        arm_name="arm",
        arm=task.arm,
        seed=SEED,
        scale="mini",
        dataset=task.dataset.identity(),
        environment=determinism.environment(),
    )
    options = TrainOptions(
        should_stop=lambda _: not rounds.next_round(), callbacks=[RoundCallback(rounds)]
    )
    with tempfile.TemporaryDirectory(dir=task.folder) as directory:
        trainer.train(Run(spec), Path(directory), task.dataset, options)
