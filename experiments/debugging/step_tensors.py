"""Compute every tensor of a step, from its weights and batch to its updates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness.model.gradients import Gradients
from experiments.harness.model.variables import preserved, to_numpy, write
from experiments.harness.training.stepper import Step

Kind = Literal["weight", "activation", "term", "loss", "gradient", "update"]
Array = NDArray[Any]
MEASURES = ("min", "max", "mean", "std")


@dataclass(frozen=True)
class StepTensor:
    """A tensor, the operation that computed it, and the operation's inputs, if known."""

    kind: Kind
    name: str
    operation: str
    value: Array
    inputs: tuple[Array, ...] = ()

    def statistics(self) -> dict[str, Any]:
        """Return the shape, ``MEASURES`` of the finite values, and the number of the others.

        The measures are computed in float64; they are None if no value is finite.
        """
        finite = self.value[np.isfinite(self.value)].astype("float64")
        return {
            "shape": list(self.value.shape),
            **{name: float(getattr(finite, name)()) if finite.size else None for name in MEASURES},
            "nonfinite": int(self.value.size - finite.size),
        }


def step_tensors(model: keras.Model, step: Step) -> list[StepTensor]:
    """Return the step's tensors, in the order in which they are computed.

    These are: the weights and the optimiser's variables before the step; each layer's output in
    training mode, with the step's own random numbers; the loss's inner terms, its value for each
    sample and for the batch; the gradients, from the last variable to the first; the updates.
    ``model`` stays as it is. Weights and updates are exact to the bit. The others are recomputed
    operation by operation, so their last bits may differ if the backend fuses operations.
    """
    before = {path: value for path, value in step.before.items() if value.dtype.kind == "f"}
    tensors = [StepTensor("weight", path, "variable", value) for path, value in before.items()]
    with preserved(model):
        write(model, step.before)
        tensors += _activations(model, step)
        tensors += _losses(model, step, output=tensors[-1].value)
        write(model, step.before)  # the gradients' own forward pass draws the same masks
        gradients = Gradients(model)(step.batch)
    for path, value in reversed(gradients.items()):
        tensors.append(StepTensor("gradient", path, "derivative", value))
    optimizer = type(model.optimizer).__name__
    for path, value in before.items():
        with np.errstate(invalid="ignore", over="ignore"):  # inf - inf
            tensors.append(StepTensor("update", path, optimizer, step.after[path] - value))
    return tensors


def _activations(model: keras.Model, step: Step) -> Iterator[StepTensor]:
    layers = [v for v in model.layers if not isinstance(v, keras.layers.InputLayer)]
    symbolic = {layer.name: (layer.input, layer.output) for layer in layers}
    values = keras.Model(model.input, symbolic)(step.batch[0], training=True)
    for layer in layers:
        inputs, output = values[layer.name]
        arrays = [to_numpy(value) for value in keras.tree.flatten(inputs)]
        # not the layer's current values: the forward pass has updated batch norm's averages
        weights = [step.before[weight.path] for weight in layer.weights]
        value = to_numpy(output)
        operation = type(layer).__name__
        yield StepTensor("activation", layer.name, operation, value, (*arrays, *weights))


def _losses(model: keras.Model, step: Step, output: Array) -> Iterator[StepTensor]:
    _, y, *weight = step.batch
    loss, predicted = model.loss, keras.ops.convert_to_tensor(output)
    operation = type(loss).__name__
    terms = loss.terms(y, predicted) if hasattr(loss, "terms") else {}
    for name, value in terms.items():
        yield StepTensor("term", name, operation, to_numpy(value))
    each_sample = loss.call(keras.ops.convert_to_tensor(y), predicted)
    batch = loss(y, predicted, sample_weight=weight[0] if weight else None)
    for name, value in (("each_sample", each_sample), ("batch", batch)):
        yield StepTensor("loss", name, operation, to_numpy(value))
