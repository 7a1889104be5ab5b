"""Tiny runs, also ones that differ from what their records say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.harness.data import dataset, mnist, order
from experiments.harness.model import build
from experiments.harness.model.variables import to_numpy, training_variables
from experiments.harness.spec import RunSpec
from experiments.harness.storage import run_directory
from experiments.harness.study import run_one
from experiments.harness.training.options import TrainOptions
from tests.helpers.planning import plan_specs

SMALL_CNN = {"network": "mnist_cnn", "network.widths": [2, 2, 8], "network.dropout": 0.5}
SHORT = {
    "optimizer.learning_rate": 4e-3,
    "batch_size": 8,
    "steps": 3,
    "intervals": 4,
    "test_examples": 20,
}
TINY = SMALL_CNN | SHORT
TINY_ALEXNET = {"network.width": 1 / 16} | SHORT  # takes three times as long


def plan_run(
    digits: dataset.Dataset,
    environment: Mapping[str, Any],
    arm: str = "fixed_rate",
    seed: int = 0,
    tiny: Mapping[str, Any] = TINY,
    **overrides: Any,
) -> RunSpec:
    """Plan a run of the arm, as small as ``tiny`` makes it."""
    overrides = {**tiny, **overrides}
    (spec,) = plan_specs("alexnet_lr_decay", [arm], [seed], overrides, environment, digits)
    return spec


def train(
    logdir: str,
    environment: Mapping[str, Any],
    fault: str | None,
    tiny: Mapping[str, Any] = TINY,
) -> str:
    """Train a run that claims ``environment``, with one of ``FAULTS``; return its directory."""
    digits = mnist.load("digits")[0]
    spec = plan_run(digits, environment, tiny=tiny)
    with pytest.MonkeyPatch.context() as patch:
        if fault:
            FAULTS[fault](patch)
        run_one.train_or_load(spec, Path(logdir), digits, TrainOptions(telemetry_every=0))
    return str(run_directory.directory_of(spec, Path(logdir)))


def flipped_bit(patch: pytest.MonkeyPatch) -> None:
    """Flip the last bit of the first weight before the first step."""
    build_compiled = build.build_compiled

    def build_corrupted(*args):
        model = build_compiled(*args)
        kernel = model.trainable_variables[0]
        values = to_numpy(kernel)
        values.view("uint32").flat[0] ^= 1
        kernel.assign(values)
        return model

    patch.setattr(build, "build_compiled", build_corrupted)


def swapped_pair(patch: pytest.MonkeyPatch) -> None:
    """Swap the first two examples of the eighth batch."""
    batch_positions = order.batch_positions

    def swapped_positions(seed, step, batch_size, examples):
        positions = batch_positions(seed, step, batch_size, examples)
        return positions[[1, 0, *range(2, batch_size)]] if step == 7 else positions

    patch.setattr(order, "batch_positions", swapped_positions)


def dropout_seed(patch: pytest.MonkeyPatch) -> None:
    """Advance the state of every seed generator by one before the first step."""
    build_compiled = build.build_compiled

    def build_corrupted(*args):
        model = build_compiled(*args)
        for path, variable in training_variables(model).items():
            if path.endswith("seed_generator_state"):
                variable.assign(to_numpy(variable) + np.array([0, 1], "uint32"))
        return model

    patch.setattr(build, "build_compiled", build_corrupted)


FAULTS = {fault.__name__: fault for fault in (flipped_bit, swapped_pair, dropout_seed)}
