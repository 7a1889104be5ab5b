"""The harness as a user runs it: deterministic, resumable, hashed, with TensorBoard's events."""

from __future__ import annotations

import tempfile
from pathlib import Path

from experiments.harness import determinism
from experiments.harness.spec import Run
from experiments.peers.keras_fit import noticing
from experiments.peers.rounds import Rounds
from experiments.peers.task import SEED, Task


def train(given: Task, rounds: Rounds) -> None:
    """Train a run of the arm."""
    from experiments.harness import training

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
        training.train(run, Path(directory), given.dataset, enough=lambda _: not rounds.another())
