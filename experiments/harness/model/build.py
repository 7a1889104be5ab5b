"""Build an arm's Keras model. Import this only after ``determinism.start()``."""

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
    """Save the uncompiled network in ``directory`` as ``model.keras``."""
    with filesystem.atomic_replace(directory / "model.keras") as temporary:
        uncompiled = keras.Model(model.inputs, model.outputs, name=model.name)
        uncompiled.save(temporary)


def build_for_run(spec: RunSpec) -> tuple[keras.Model, Callable[[int], float]]:
    """Return a run's initial model, and a function from finished intervals to the learning rate."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(spec.seed)
    model = build_compiled(spec.arm)
    base_rate = float(model.optimizer.learning_rate)
    return model, lambda interval: base_rate * spec.arm.learning_rate_factor(interval)


def build_compiled(arm: Arm) -> keras.Model:
    """Build and compile an arm's network; raise ``UserError`` if Keras rejects the arm."""
    try:
        model = zoo.build(arm.network["class_name"], **arm.network["config"])
        _freeze(model, arm.frozen)
        optimizer = keras.optimizers.get(copy.deepcopy(arm.optimizer))
        loss = keras.losses.get(copy.deepcopy(arm.loss))
        optimizer.build(model.trainable_variables)
        loss(np.zeros(1, "int32"), np.zeros((1, *model.output_shape[1:]), "float32"))
        if unknown := set(arm.probes) - set(probes.PROBES):
            known = ", ".join(probes.PROBES)
            raise ValueError(f"unknown probe {unknown.pop()!r}; available: {known}")
        metrics = _metrics(arm.metrics)
    except Exception as error:  # a loss that does not fit raises another error on each backend
        raise UserError(f"the arm cannot be built: {' '.join(str(error).split())[:300]}") from None
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    return model


def _metrics(names: Sequence[str]) -> list[keras.metrics.Metric | str]:
    """Return the metrics for ``compile``; ``ValueError`` for an unknown one."""
    for name in {*names} - {*CUSTOM_METRICS, "accuracy"}:
        keras.metrics.get(name)  # an unknown metric would fail only within fit
    return [CUSTOM_METRICS[name]() if name in CUSTOM_METRICS else name for name in names]


def _freeze(model: keras.Model, names: Sequence[str]) -> None:
    variables = model.trainable_variables
    if unknown := set(names) - {variable.name for variable in variables}:
        raise ValueError(f"cannot freeze {unknown.pop()!r}: no variable has this name")
    for variable in variables:
        variable.trainable = variable.name not in names
