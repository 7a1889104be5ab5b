"""Runs that are not what their records say. Made in processes of their own: faults stay there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from experiments import catalog
from experiments.harness.data import dataset, mnist, order
from experiments.harness.model import build
from experiments.harness.model.variables import training_variables
from experiments.harness.spec import Run
from experiments.harness.storage import run_directory
from experiments.harness.study import plan, run_one

TINY = {
    "network.width": 1 / 16,
    "optimizer.learning_rate": 4e-3,
    "batch_size": 8,
    "steps": 3,
    "intervals": 4,
    "test_examples": 20,
}


def planned(
    digits: dataset.Dataset,
    environment: dict[str, Any],
    arm: str = "fixed_rate",
    seed: int = 0,
    **changes: Any,
) -> Run:
    """Plan a tiny run of the miniature."""
    (run,) = plan.plan_runs(
        catalog.load("alexnet_lr_decay"),
        "mini",
        arms=[arm],
        seeds=[seed],
        changes=TINY | changes,
        data={"mnist": digits.identity()},
        environment=environment,
    )
    return run


def made(logdir: str, environment: dict[str, Any], fault: str | None) -> str:
    """Make a run that claims ``environment``, with one of ``FAULTS``; return its directory."""
    digits = mnist.load("digits")[0]
    run = planned(digits, environment)
    if fault:
        FAULTS[fault]()
    run_one.train_or_load(run, Path(logdir), digits)
    return str(run_directory.directory_of(run, Path(logdir)))


def flipped_bit() -> None:
    """Flip the last bit of the first weight before the first step."""
    compiled = build.build_compiled

    def spoiled(arm):
        model = compiled(arm)
        kernel = model.trainable_variables[0]
        values = np.array(kernel)
        values.view("uint32").flat[0] ^= 1
        kernel.assign(values)
        return model

    build.build_compiled = spoiled


def swapped_pair() -> None:
    """Swap the first two examples of the eighth batch."""
    original = order.batch_positions

    def spoiled(seed, step, batch_size, examples):
        indices = original(seed, step, batch_size, examples)
        return indices[[1, 0, *range(2, batch_size)]] if step == 7 else indices

    order.batch_positions = spoiled


def dropout_seed() -> None:
    """Begin with random-number states that are one further."""
    compiled = build.build_compiled

    def spoiled(arm):
        model = compiled(arm)
        for path, variable in training_variables(model).items():
            if path.endswith("seed_generator_state"):
                variable.assign(np.array(variable) + np.array([0, 1], "uint32"))
        return model

    build.build_compiled = spoiled


FAULTS = {fault.__name__: fault for fault in (flipped_bit, swapped_pair, dropout_seed)}
