"""A model's layer outputs and gradients on one batch, read without changing the model."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness.model.gradients import Batch, Gradients
from experiments.harness.model.variables import forward_variables, preserved, to_numpy
from experiments.harness.telemetry.layer_tags import LayerTags

Tensors = dict[str, NDArray[Any]]


class BatchReader:
    """Read a model's layer outputs and gradients on ``batch``, in training mode."""

    def __init__(self, model: keras.Model, batch: Batch, anatomy: LayerTags) -> None:
        self.model, self.batch, self.anatomy = model, batch, anatomy
        self.reader, self.backward = None, None
        if anatomy.first_input is None:  # no graph
            return
        inputs = model.inputs[0] if len(model.inputs) == 1 else model._inputs_struct
        self.reader = keras.Model(inputs, [anatomy.first_input, *anatomy.outputs.values()])
        if model.loss:
            run_eagerly = keras.backend.backend() != "jax"  # eager JAX compiles each operation
            self.backward = Gradients(model, run_eagerly=run_eagerly)

    def for_batch(self, batch: Batch) -> BatchReader:
        """Return a reader for another batch that shares the prepared models."""
        other = copy.copy(self)
        other.batch = batch
        return other

    def first_input(self) -> NDArray[Any]:
        """Return the batch as the first layer with weights receives it."""
        if not self.reader:
            return keras.tree.flatten(self.batch[0])[0]
        return self._forward_pass()[0]

    def outputs(self) -> Tensors:
        """Return each layer's output, and the input of each fused activation, by tag.

        Without a graph, return the model's own output, numbered if there are several.
        """
        if not self.reader:
            values = self._forward_pass()
            names = ["output"] if len(values) == 1 else [f"output_{n}" for n in range(len(values))]
            return dict(zip(names, values, strict=True))
        captured: Tensors = {}
        with _capture_activation_inputs(self.anatomy.fused_activations, captured):
            _, *values = self._forward_pass()
        return dict(zip(self.anatomy.outputs, values, strict=True)) | captured

    def gradients(self) -> Tensors:
        """Return the loss's gradient for each trainable variable, by the variable's tag."""
        if not self.backward:
            return {}
        with preserved(self.model, forward_variables):
            gradients = self.backward(self.batch)
        tags = {variable.path: tag for tag, variable in self.anatomy.variables.items()}
        return {tags[path]: np.asarray(value) for path, value in gradients.items()}

    def _forward_pass(self) -> list[NDArray[Any]]:
        with preserved(self.model, forward_variables):
            values = (self.reader or self.model)(self.batch[0], training=True)
        return [to_numpy(value) for value in keras.tree.flatten(values)]


@contextmanager
def _capture_activation_inputs(layers: Mapping[str, Any], captured: Tensors) -> Iterator[None]:
    """Within the block, store the input of each layer's own activation in ``captured``, by tag."""
    activations = {tag: layer.activation for tag, layer in layers.items()}

    def capturing(tag: str) -> Any:
        def activation(x: Any) -> Any:
            captured[tag] = to_numpy(x)
            return activations[tag](x)

        return activation

    try:
        for tag, layer in layers.items():
            layer.activation = capturing(tag)
        yield
    finally:
        for tag, layer in layers.items():
            layer.activation = activations[tag]
