"""Build an arm's Keras model. Import this only after ``determinism.start()``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

import zoo.losses
import zoo.optimizers
from experiments.harness.data.dataset import Dataset
from experiments.harness.model import probes, variables
from experiments.harness.model.data_fit import as_functional, check_fit
from experiments.harness.model.metrics import CUSTOM_METRICS
from experiments.harness.runtime import filesystem
from experiments.harness.spec import Arm, RunSpec, UserError
from experiments.harness.spec.overrides import check_schedules
from experiments.harness.storage import source_code

LearningRate = Callable[[int], float] | None  # by the number of finished intervals


def export(model: keras.Model, tensors: Mapping[str, NDArray[Any]], directory: Path) -> None:
    """Save the uncompiled network with the weights of a checkpoint as ``model.keras``.

    What training left in the model does not count: a callback may have changed it at the end.
    """
    variables.write(model, tensors)
    with filesystem.atomic_replace(directory / "model.keras") as temporary:
        uncompiled = keras.Model(model.inputs, model.outputs, name=model.name)
        uncompiled.save(temporary)


def build_for_run(spec: RunSpec, dataset: Dataset) -> tuple[keras.Model, LearningRate]:
    """Return a run's initial model, and a function from finished intervals to the learning rate.

    The latter is None if the optimiser has a schedule of its own. Raises ``UserError`` if the model
    does not fit the data, or if the user's own code has changed since the run began.
    """
    source_code.check(spec.code, spec.code_folder)
    keras.utils.clear_session()
    keras.utils.set_random_seed(spec.seed)
    model = build_compiled(spec.arm, dataset if spec.code else None)
    if spec.arm.has_keras_schedule:
        return model, None
    base_rate = float(model.optimizer.learning_rate)
    return model, lambda interval: base_rate * spec.arm.learning_rate_factor(interval)


def build_compiled(arm: Arm, dataset: Dataset | None = None) -> keras.Model:
    """Build and compile an arm's network; raise ``UserError`` if Keras rejects the arm.

    The model must fit the ``dataset``, if it is given: a user's own.
    """
    try:
        model = _network(arm)
        _freeze(model, arm.frozen)
        optimizer = _optimizer(arm)
        loss = _own(arm.loss) or keras.losses.get(copy.deepcopy(arm.loss))
        optimizer.build(model.trainable_variables)
        targets = np.zeros(1, "int32")
        if dataset:
            targets = check_fit(model, dataset)
        loss(targets, np.zeros((len(targets), *model.output_shape[1:]), "float32"))
        if unknown := set(arm.probes) - set(probes.PROBES):
            known = ", ".join(probes.PROBES)
            raise ValueError(f"unknown probe {unknown.pop()!r}; available: {known}")
        metrics = _metrics(arm.metrics, targets, model.output_shape[1:])
    except Exception as error:  # a loss that does not fit raises another error on each backend
        raise UserError(f"the arm cannot be built: {' '.join(str(error).split())[:300]}") from None
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    return model


def _network(arm: Arm) -> keras.Model:
    """Return the network, of the zoo or a user's own."""
    model = _own(arm.network)
    if model is None:
        return zoo.build(arm.network["class_name"], **arm.network["config"])
    return as_functional(model, arm.network["class_name"])


def _own(config: Mapping[str, Any]) -> Any:
    """Return what a user's own function returns for its config; None for names of Keras's."""
    if not source_code.is_reference(config["class_name"]):
        return None
    options = copy.deepcopy(dict(config["config"]))
    return source_code.load_function(config["class_name"])(**options)


def _optimizer(arm: Arm) -> keras.optimizers.Optimizer:
    check_schedules(arm)
    config = copy.deepcopy(arm.optimizer)
    if arm.has_keras_schedule:  # Keras itself wants the schedule's module too
        rate = keras.optimizers.schedules.deserialize(config["config"]["learning_rate"])
        if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            raise ValueError(f"{rate!r} is not a learning rate schedule")
        config["config"]["learning_rate"] = rate
    optimizer = _own(config) or keras.optimizers.get(config)
    # Else fit would end by overwriting the weights with their moving averages (use_ema), and they
    # would depend on where a training stopped.
    optimizer.finalize_variable_values = lambda _: None
    return optimizer


def _metrics(
    names: Sequence[str], targets: NDArray[Any], output_shape: Sequence[int]
) -> list[keras.metrics.Metric | str]:
    """Return the metrics for ``compile``; raise if one is unknown or does not fit."""
    outputs = np.zeros((len(targets), *output_shape), "float32")
    for name in {*names} - {*CUSTOM_METRICS, "accuracy"}:
        metric = keras.metrics.get(name)  # an unknown metric would fail only within fit
        if isinstance(metric, keras.metrics.Metric):
            metric.update_state(targets, outputs)
            if keras.ops.ndim(metric.result()):
                raise ValueError(f"the metric {name!r} has several values; a column takes one")
    known: dict[str, Callable[[], keras.metrics.Metric]] = {**CUSTOM_METRICS}
    if output_shape[-1] > 1:  # Keras would choose it within a step, which TensorFlow traces twice
        one_hot = targets.shape == outputs.shape
        kind = f"{'' if one_hot else 'Sparse'}CategoricalAccuracy"
        known["accuracy"] = partial(getattr(keras.metrics, kind), "accuracy")
    return [known[name]() if name in known else name for name in names]


def _freeze(model: keras.Model, names: Sequence[str]) -> None:
    variables = model.trainable_variables
    if unknown := set(names) - {variable.name for variable in variables}:
        raise ValueError(f"cannot freeze {unknown.pop()!r}: no variable has this name")
    for variable in variables:
        variable.trainable = variable.name not in names
