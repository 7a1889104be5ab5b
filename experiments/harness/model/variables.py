"""A model's variables and their values, by path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
from numpy.typing import NDArray

from experiments.harness.runtime.backends import generator_state, restore_generator_state
from experiments.harness.runtime.generators import host_state, restore_host_state

Variables = Callable[[keras.Model], dict[str, Any]]


def training_variables(model: keras.Model) -> dict[str, Any]:
    """Return the training state's variables, by path: weights, seeds, optimiser; no metrics."""
    state = _state(model)
    by_path = {variable.path: variable for variable in state}
    assert len(by_path) == len(state), "two variables share a path"
    return by_path


def forward_variables(model: keras.Model) -> dict[str, Any]:
    """Return the variables that a forward pass may change: moving averages, states, seeds.

    The states of a recurrent layer are not among the model's variables and share a path, so the
    keys begin with a number.
    """
    optimized = {id(v) for v in (*model.trainable_variables, *_optimizer_variables(model))}
    states = [getattr(layer, "states", None) for layer in model._flatten_layers()]
    recurrent = [v for v in keras.tree.flatten(states) if isinstance(v, keras.Variable)]
    changing = [v for v in (*_state(model), *recurrent) if id(v) not in optimized]
    return {f"{number} {variable.path}": variable for number, variable in enumerate(changing)}


def _state(model: keras.Model) -> list[Any]:
    metrics = {id(variable) for variable in model.metrics_variables}
    return [v for v in (*model.variables, *_optimizer_variables(model)) if id(v) not in metrics]


def _optimizer_variables(model: keras.Model) -> list[Any]:
    return model.optimizer.variables if getattr(model, "optimizer", None) else []


def to_numpy(value: Any) -> NDArray[Any]:
    """Return a copy of the value of a variable, a tensor or an array.

    ``keras.ops.convert_to_numpy`` makes NumPy warn: it asks for a copy, which the ``__array__`` of
    variables and of some tensors does not offer. ``numpy()`` does not ask for one.
    """
    if isinstance(value, keras.Variable):
        value = value.value
    if keras.backend.backend() == "torch" and keras.ops.is_tensor(value):
        if keras.backend.standardize_dtype(value.dtype) == "bfloat16":  # which NumPy lacks
            return to_numpy(value.float()).astype("bfloat16")
        value = value.numpy(force=True)  # detached, and copied from the device
    elif hasattr(value, "numpy") and hasattr(value, "__array__"):  # TensorFlow's, and dense
        value = value.numpy()
    return keras.ops.convert_to_numpy(value)


def read(model: keras.Model, which: Variables = training_variables) -> dict[str, NDArray[Any]]:
    """Return the values of the variables and of the backend's own generators, by path."""
    return {path: to_numpy(variable) for path, variable in which(model).items()} | generator_state()


def write(
    model: keras.Model, values: Mapping[str, NDArray[Any]], which: Variables = training_variables
) -> None:
    """Restore the values that ``read`` returned."""
    restore_generator_state(values)
    for path, variable in which(model).items():
        variable.assign(values[path])


@contextmanager
def preserved(model: keras.Model, which: Variables = training_variables) -> Iterator[None]:
    """Restore variables and generators, also the global ones, at the end of the block."""
    before, host = read(model, which), host_state()
    shared = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    state = None if shared is None else to_numpy(shared.state)
    try:
        yield
    finally:
        write(model, before, which)
        global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, shared)
        if shared is not None:
            shared.state.assign(state)
        restore_host_state(host)
