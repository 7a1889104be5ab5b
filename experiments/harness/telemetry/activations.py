"""What a model makes of a batch, read without changing a bit of the model."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness.model.gradients import Batch, Gradients
from experiments.harness.model.variables import forward_variables, preserved
from experiments.harness.telemetry.layer_tags import LayerTags

Tensors = dict[str, NDArray[Any]]


class BatchReader:
    """A model and the batch that it is asked about, in training mode; prepared once."""

    def __init__(self, model: keras.Model, batch: Batch, anatomy: LayerTags) -> None:
        self.model, self.batch, self.anatomy = model, batch, anatomy
        self.reader = keras.Model(model.inputs[0], [anatomy.seen, *anatomy.outputs.values()])
        # JAX compiles operation by operation what it is to run eagerly
        eagerly = keras.backend.backend() != "jax"
        self.backward = Gradients(model, run_eagerly=eagerly) if model.loss else None

    def about(self, batch: Batch) -> BatchReader:
        """Return the same for another batch, with nothing to prepare once more."""
        other = copy.copy(self)
        other.batch = batch
        return other

    def seen(self) -> NDArray[Any]:
        """Return the batch as the first layer with weights is given it."""
        return self._read()[0]

    def outputs(self) -> Tensors:
        """Return each layer's output, and what goes into an activation of its own, by tag."""
        heard: Tensors = {}
        with _listening(self.anatomy.fused, heard):
            _, *values = self._read()
        return dict(zip(self.anatomy.outputs, values, strict=True)) | heard

    def gradients(self) -> Tensors:
        """Return the loss's gradient for each trainable variable, by the variable's tag."""
        if not self.backward:
            return {}
        with preserved(self.model, forward_variables):
            found = self.backward(self.batch)
        tags = {variable.path: tag for tag, variable in self.anatomy.variables.items()}
        return {tags[path]: np.asarray(value) for path, value in found.items()}

    def _read(self) -> list[NDArray[Any]]:
        with preserved(self.model, forward_variables):
            values = self.reader(self.batch[0], training=True)
        return [keras.ops.convert_to_numpy(value) for value in values]


@contextmanager
def _listening(layers: Mapping[str, Any], heard: Tensors) -> Iterator[None]:
    """While the block lasts, note what goes into the layers' own activations, by tag."""
    functions = {tag: layer.activation for tag, layer in layers.items()}

    def listener(tag: str) -> Any:
        def listen(x: Any) -> Any:
            heard[tag] = keras.ops.convert_to_numpy(x)
            return functions[tag](x)

        return listen

    try:
        for tag, layer in layers.items():
            layer.activation = listener(tag)
        yield
    finally:
        for tag, layer in layers.items():
            layer.activation = functions[tag]
