"""Gradients of a loss on any backend, without a training step."""

from __future__ import annotations

from typing import Any

import keras
from numpy.typing import NDArray

from experiments.harness.model.variables import to_numpy

Batch = tuple[Any, ...]  # of arrays, or of dicts or tuples of arrays


class GradientRecorder(keras.optimizers.Optimizer):
    """An optimiser that records the gradients and leaves the variables unchanged."""

    def __init__(self) -> None:
        super().__init__(learning_rate=0.0)

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        self.recorded = [self.add_variable_from_reference(v, name="gradient") for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        self.assign(self.recorded[self._get_variable_index(variable)], gradient)


def functional(model: keras.Model) -> keras.Model:
    """Return a functional model that shares the layers of a functional or Sequential model."""
    if len(model.inputs) == 1 == len(model.outputs):
        return keras.Model(model.inputs[0], model.outputs[0])  # a Sequential has no .input
    return keras.Model(model._inputs_struct, model._outputs_struct)


class Gradients:
    """Compute the gradients of a compiled model's loss."""

    def __init__(self, model: keras.Model, *, run_eagerly: bool = True) -> None:
        self.optimizer = GradientRecorder()
        self.model = functional(model)
        nested = isinstance(model.loss, dict | list | tuple)
        self.model.compile(
            optimizer=self.optimizer,
            loss=model.loss,
            loss_weights=model._compile_loss._user_loss_weights if nested else None,
            run_eagerly=run_eagerly,
            jit_compile=not run_eagerly,
        )

    def __call__(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Return the loss's gradient for each trainable variable, by path.

        ``batch`` is inputs, targets and optional sample weights. Runs the model in training mode:
        the caller restores moving averages and seeds.
        """
        x, y, *weight = batch
        self.model.train_on_batch(x, y, sample_weight=weight[0] if weight else None)
        gradients = zip(self.model.trainable_variables, self.optimizer.recorded, strict=True)
        return {v.path: to_numpy(gradient) for v, gradient in gradients}
