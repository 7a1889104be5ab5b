"""Runs that are not what their records say. Made in processes of their own: faults stay there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from experiments import catalog
from experiments.harness import data, making, mnist, record, study, training
from experiments.harness.spec import Run
from experiments.harness.tensors import variables

TINY = {
    "network.width": 1 / 16,
    "optimizer.learning_rate": 4e-3,
    "batch_size": 8,
    "steps": 3,
    "intervals": 4,
    "test_examples": 20,
}


def planned(
    digits: data.Dataset,
    environment: dict[str, Any],
    arm: str = "fixed_rate",
    seed: int = 0,
    **changes: Any,
) -> Run:
    """Plan a tiny run of the miniature."""
    (run,) = study.plan(
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
    making.made(run, Path(logdir), digits)
    return str(record.directory_of(run, Path(logdir)))


def flipped_bit() -> None:
    """Flip the last bit of the first weight before the first step."""
    compiled = training.compiled

    def spoiled(arm):
        model = compiled(arm)
        kernel = model.trainable_variables[0]
        values = np.array(kernel)
        values.view("uint32").flat[0] ^= 1
        kernel.assign(values)
        return model

    training.compiled = spoiled


def swapped_pair() -> None:
    """Swap the first two examples of the eighth batch."""
    original = data.order

    def spoiled(seed, step, batch_size, examples):
        indices = original(seed, step, batch_size, examples)
        return indices[[1, 0, *range(2, batch_size)]] if step == 7 else indices

    data.order = spoiled


def dropout_seed() -> None:
    """Begin with random-number states that are one further."""
    compiled = training.compiled

    def spoiled(arm):
        model = compiled(arm)
        for path, variable in variables(model).items():
            if path.endswith("seed_generator_state"):
                variable.assign(np.array(variable) + np.array([0, 1], "uint32"))
        return model

    training.compiled = spoiled


FAULTS = {fault.__name__: fault for fault in (flipped_bit, swapped_pair, dropout_seed)}
