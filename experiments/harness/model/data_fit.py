"""Whether a user's network can be trained on a user's data."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness.data.dataset import Dataset


def as_functional(model: Any, name: str) -> keras.Model:
    """Return a user's model, a Sequential one as a functional model of the same layers.

    Raises ``ValueError`` unless it has one input and one output, and can be saved.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"{name} returned no keras.Model but an object of {type(model).__name__}")
    inputs, outputs = (getattr(model, each, None) for each in ("inputs", "outputs"))
    if not inputs or not outputs or len(inputs) > 1 or len(outputs) > 1:
        raise ValueError(f"{name} returned no functional or Sequential model of one Input")
    if isinstance(model, keras.Sequential):
        model = keras.Model(inputs[0], outputs[0], name=model.name)
    paths = Counter(variable.path for variable in model.variables)
    if shared := [path for path, count in paths.items() if count > 1]:
        raise ValueError(f"two variables of {name} share the path {shared[0]}; name the layers")
    try:
        model.to_json()
    except Exception as error:  # a layer's get_config is the user's code
        raise ValueError(f"the model of {name} cannot be saved: {error}") from None
    return model


def check_fit(model: keras.Model, dataset: Dataset) -> NDArray[np.generic]:
    """Return a few targets of the data's shape, all 0, to try a loss with.

    Raises ``ValueError`` if examples do not fit the model's input, or targets its output.
    """
    examples = dataset.train(slice(1))[0].shape[1:]
    taken, outputs = model.input_shape[1:], model.output_shape[1:]
    if len(taken) != len(examples) or any(
        a not in (None, b) for a, b in zip(taken, examples, strict=True)
    ):
        raise ValueError(
            f"the network takes {taken}, but the examples of {dataset.name} are {examples}"
        )
    for targets in (dataset.y_train, dataset.y_test):
        _check_targets(targets, outputs)
    count = 3 if outputs[-1] == 2 else 2  # never that of the outputs, which would broadcast
    return np.zeros((count, *dataset.y_train.shape[1:]), dataset.y_train.dtype)


def _check_targets(targets: NDArray[np.generic], outputs: tuple[int, ...]) -> None:
    inner, classes = targets.shape[1:], outputs[-1]
    if inner == outputs or (not inner and outputs == (1,)):
        return  # one-hot, a regression, or a binary classification
    if inner != outputs[:-1]:
        raise ValueError(f"the labels are {inner}, but the network's outputs {outputs}")
    if (targets != np.rint(targets)).any():
        raise ValueError(f"the labels have fractions, but the network has {classes} outputs")
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"the labels go from {low} to {high}, but the network has {classes} outputs"
        )
