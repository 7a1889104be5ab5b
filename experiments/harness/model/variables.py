"""A model's variables and their values, by path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness.runtime.backends import generator_state, restore_generator_state

Variables = Callable[[keras.Model], dict[str, Any]]


def training_variables(model: keras.Model) -> dict[str, Any]:
    """Return every variable that training changes, by path: weights, seeds, optimiser."""
    metrics = {id(variable) for variable in model.metrics_variables}
    kept = [v for v in (*model.variables, *model.optimizer.variables) if id(v) not in metrics]
    paths = {variable.path: variable for variable in kept}
    assert len(paths) == len(kept), "two variables share a path"
    return paths


def forward_variables(model: keras.Model) -> dict[str, Any]:
    """Return the variables that a pass through the model may change: moving averages, seeds."""
    trained = {
        id(variable) for variable in (*model.trainable_variables, *model.optimizer.variables)
    }
    return {path: v for path, v in training_variables(model).items() if id(v) not in trained}


def read(model: keras.Model, which: Variables = training_variables) -> dict[str, NDArray[Any]]:
    """Return the values of all variables, and of generators outside them, by path."""
    values = {path: keras.ops.convert_to_numpy(v) for path, v in which(model).items()}
    return {path: np.array(value) for path, value in (values | generator_state()).items()}


def write(
    model: keras.Model, values: Mapping[str, NDArray[Any]], which: Variables = training_variables
) -> None:
    """Put back what ``read`` returned."""
    restore_generator_state(values)
    for path, variable in which(model).items():
        variable.assign(values[path])


@contextmanager
def preserved(model: keras.Model, which: Variables = training_variables) -> Iterator[None]:
    """Put variables and generators back to what they are now when the block ends."""
    before = read(model, which)
    try:
        yield
    finally:
        write(model, before, which)
