"""The harness as a user runs it: deterministic, resumable, hashed, with TensorBoard's events."""

from __future__ import annotations

import tempfile
from pathlib import Path

from experiments.benchmarks.baselines.keras_fit import noticing
from experiments.benchmarks.rounds import Rounds
from experiments.benchmarks.task import SEED, Task
from experiments.harness.runtime import determinism
from experiments.harness.spec import Run


def train(given: Task, rounds: Rounds) -> None:
    """Train a run of the arm."""
    from experiments.harness.training import trainer

    run = Run(
        experiment="benchmark",
        arm_name="arm",
        arm=given.arm,
        seed=SEED,
        scale="mini",
        dataset=given.dataset.identity(),
        environment=determinism.start(),
    )
    with tempfile.TemporaryDirectory(dir=given.folder) as directory, noticing(rounds):
        trainer.train(run, Path(directory), given.dataset, enough=lambda _: not rounds.another())
