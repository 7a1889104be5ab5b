"""From an arm as data to a Keras model. Import it only after ``determinism.start()``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

import zoo.losses
from experiments.harness.model import probes
from experiments.harness.model.metrics import CUSTOM_METRICS
from experiments.harness.runtime import filesystem
from experiments.harness.spec import Arm, RunSpec, UserError


def export(model: keras.Model, directory: Path) -> None:
    """Save the uncompiled network as ``model.keras``, which plain Keras loads."""
    with filesystem.atomic_replace(directory / "model.keras") as temporary:
        uncompiled = keras.Model(model.inputs, model.outputs, name=model.name)
        uncompiled.save(temporary)


def build_for_run(spec: RunSpec) -> tuple[keras.Model, Callable[[int], float]]:
    """Return the run's model before its first step, and its learning rate by finished intervals."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(spec.seed)
    model = build_compiled(spec.arm)
    first = float(model.optimizer.learning_rate)
    return model, lambda interval: first * spec.arm.learning_rate_factor(interval)


def build_compiled(arm: Arm) -> keras.Model:
    """Build and compile an arm's network; ``UserError`` if Keras does not accept the arm."""
    try:
        model = zoo.build(arm.network["class_name"], **arm.network["config"])
        _freeze(model, arm.frozen)
        optimizer = keras.optimizers.get(copy.deepcopy(arm.optimizer))
        loss = keras.losses.get(copy.deepcopy(arm.loss))
        optimizer.build(model.trainable_variables)
        loss(np.zeros(1, "int32"), np.zeros((1, *model.output_shape[1:]), "float32"))
        if unknown := set(arm.probes) - set(probes.PROBES):
            raise ValueError(f"no probe is called {unknown.pop()!r}; there are: {[*probes.PROBES]}")
        for name in {*arm.metrics} - {
            *CUSTOM_METRICS,
            "accuracy",
        }:  # the rest only fails within fit
            keras.metrics.get(name)
        metrics = [
            CUSTOM_METRICS[name]() if name in CUSTOM_METRICS else name for name in arm.metrics
        ]
    except Exception as error:  # each backend has its own for a loss that does not fit
        raise UserError(f"the arm cannot be built: {' '.join(str(error).split())[:300]}") from None
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    return model


def _freeze(model: keras.Model, names: Sequence[str]) -> None:
    variables = model.trainable_variables
    if unknown := set(names) - {variable.name for variable in variables}:
        raise ValueError(f"no variable to freeze is called {unknown.pop()!r}")
    for variable in variables:
        variable.trainable = variable.name not in names
