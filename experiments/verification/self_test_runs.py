"""The short runs that the self-test repeats; together they use most of what a run can have.

Import it only after ``determinism.start()``: it imports keras.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from experiments.harness.data import mnist, order
from experiments.harness.data.dataset import Dataset
from experiments.harness.data.keras_input import training_input
from experiments.harness.model import build
from experiments.harness.runtime import determinism
from experiments.harness.spec import Arm, RunSpec, config
from experiments.harness.study import run_one
from experiments.harness.training.options import TrainOptions

TIMED_INTERVALS = 8  # after a first one, which also compiles

stable = config("SparseCategoricalCrossentropy", from_logits=True, reduction="sum")
lrn = Arm(
    network=config("alexnet", image_size=67, width=1 / 8, kernel_initializer="he_normal"),
    loss=stable,
    optimizer=config("SGD", learning_rate=1e-4),
    batch_size=32,
    steps=4,
    intervals=2,
    test_examples=96,
    about="mini AlexNet, local response normalisation, dropout, SGD",
)
batch_norm = Arm(
    network=config("alexnet", image_size=67, width=1 / 8, norm="batch", groups=2),
    loss=stable,
    optimizer=config("Adam", learning_rate=1e-3),
    batch_size=32,
    steps=4,
    intervals=2,
    test_examples=96,
    about="mini AlexNet, batch norm, groups, dropout, Adam",
)
RUNS = {"lrn_sgd": lrn, "batch_norm_adam": batch_norm}


def train_short_runs(directories: Mapping[str, int | None], timing: bool) -> dict[str, Any]:
    """Train or resume every short run in each directory; then, if ``timing``, time the steps.

    ``directories`` maps each directory to the interval to stop after, None for the arm's last.
    Returns ``environment``; ``fingerprints`` of the complete runs, in the directories' order, by
    name; and ``seconds`` of a training step, one value per timed interval, by name.
    """
    environment, (digits, _) = determinism.environment(), mnist.load("digits")
    fingerprints: dict[str, list[str | None]] = {name: [] for name in RUNS}
    for directory, intervals in directories.items():
        for name, arm in RUNS.items():
            spec = RunSpec("self-test", name, arm, 0, "mini", digits.identity(), environment)
            options = TrainOptions(stop_after=intervals)
            run = run_one.train_or_load(spec, Path(directory), digits, options)
            if run.status == "complete":
                fingerprints[name].append(run.fingerprint)
    seconds = {name: time_steps(arm, digits) for name, arm in RUNS.items() if timing}
    return {"environment": environment, "fingerprints": fingerprints, "seconds": seconds}


def time_steps(arm: Arm, dataset: Dataset) -> list[float]:
    """Return the seconds that a training step of ``arm`` takes, one value per timed interval."""
    timer = EpochTimer()
    build.build_compiled(arm).fit(
        training_input(order.batches(dataset, 0, arm.batch_size)),
        steps_per_epoch=arm.steps,
        epochs=1 + TIMED_INTERVALS,
        shuffle=False,
        callbacks=[timer],
        verbose=0,
    )
    return [seconds / arm.steps for seconds in timer.seconds[1:]]


class EpochTimer(keras.callbacks.Callback):
    """Time the epochs, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.seconds.append(time.perf_counter() - self.start)
