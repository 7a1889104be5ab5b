"""Runs that differ from what their records say. Train them in a process of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness.data import dataset, mnist, order
from experiments.harness.model import build
from experiments.harness.model.variables import to_numpy, training_variables
from experiments.harness.spec import RunSpec
from experiments.harness.storage import run_directory
from experiments.harness.study import run_one
from tests.helpers.planning import plan_specs

TINY = {
    "network.width": 1 / 16,
    "optimizer.learning_rate": 4e-3,
    "batch_size": 8,
    "steps": 3,
    "intervals": 4,
    "test_examples": 20,
}


def plan_run(
    digits: dataset.Dataset,
    environment: Mapping[str, Any],
    arm: str = "fixed_rate",
    seed: int = 0,
    **overrides: Any,
) -> RunSpec:
    """Plan a tiny run of the miniature."""
    overrides = TINY | overrides
    (spec,) = plan_specs("alexnet_lr_decay", [arm], [seed], overrides, environment, digits)
    return spec


def train(logdir: str, environment: Mapping[str, Any], fault: str | None) -> str:
    """Train a run that claims ``environment``, with one of ``FAULTS``; return its directory."""
    digits = mnist.load("digits")[0]
    spec = plan_run(digits, environment)
    if fault:
        FAULTS[fault]()
    run_one.train_or_load(spec, Path(logdir), digits)
    return str(run_directory.directory_of(spec, Path(logdir)))


def flipped_bit() -> None:
    """Flip the last bit of the first weight before the first step."""
    build_compiled = build.build_compiled

    def build_corrupted(arm):
        model = build_compiled(arm)
        kernel = model.trainable_variables[0]
        values = to_numpy(kernel)
        values.view("uint32").flat[0] ^= 1
        kernel.assign(values)
        return model

    build.build_compiled = build_corrupted


def swapped_pair() -> None:
    """Swap the first two examples of the eighth batch."""
    batch_positions = order.batch_positions

    def swapped_positions(seed, step, batch_size, examples):
        positions = batch_positions(seed, step, batch_size, examples)
        return positions[[1, 0, *range(2, batch_size)]] if step == 7 else positions

    order.batch_positions = swapped_positions


def dropout_seed() -> None:
    """Advance the state of every seed generator by one before the first step."""
    build_compiled = build.build_compiled

    def build_corrupted(arm):
        model = build_compiled(arm)
        for path, variable in training_variables(model).items():
            if path.endswith("seed_generator_state"):
                variable.assign(to_numpy(variable) + np.array([0, 1], "uint32"))
        return model

    build.build_compiled = build_corrupted


FAULTS = {fault.__name__: fault for fault in (flipped_bit, swapped_pair, dropout_seed)}
