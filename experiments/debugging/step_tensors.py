"""What a step is made of: every tensor on the way from its batch to its updates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness.model.gradients import Gradients
from experiments.harness.model.variables import preserved, write
from experiments.harness.training.stepper import Step

Kind = Literal["weight", "activation", "term", "loss", "gradient", "update"]
Array = NDArray[Any]
MEASURES = ("min", "max", "mean", "std")


@dataclass(frozen=True)
class StepTensor:
    """A tensor, the operation that made it, and the tensors that it was made from, where known."""

    kind: Kind
    name: str
    operation: str
    value: Array
    sources: tuple[Array, ...] = ()

    def statistics(self) -> dict[str, Any]:
        """Return its shape, the range, mean and spread of its finite values, and a count of others.

        Computed in float64; None where no value is finite.
        """
        finite = self.value[np.isfinite(self.value)].astype("float64")
        measured = (
            {name: float(getattr(finite, name)()) for name in MEASURES}
            if finite.size
            else dict.fromkeys(MEASURES)
        )
        shape, others = list(self.value.shape), int(self.value.size - finite.size)
        return {"shape": shape, **measured, "nonfinite": others}


def step_tensors(model: keras.Model, step: Step) -> list[StepTensor]:
    """Return the step's tensors, in the order in which they come to be.

    The weights and the optimiser's variables before it; each layer's output in training mode, with
    the step's own random numbers; the loss's inner terms, its value for each sample, and for the
    batch; gradients, from the last variable back to the first; the updates that the step made.
    Leaves ``model`` as it is. Recomputed operation by operation: where the backend compiles several
    into one, last bits may differ from the step's own, but for weights and updates.
    """
    before = {path: value for path, value in step.before.items() if value.dtype.kind == "f"}
    made = [StepTensor("weight", path, "kept", value) for path, value in before.items()]
    with preserved(model):
        write(model, step.before)
        made += _activations(model, step)
        made += _losses(model, step, made[-1].value)
        write(model, step.before)  # the gradients' own forward pass draws the same masks
        found = Gradients(model)(step.batch)
    made += [StepTensor("gradient", p, "derivative", value) for p, value in reversed(found.items())]
    optimizer = type(model.optimizer).__name__
    for path, value in before.items():
        with np.errstate(invalid="ignore", over="ignore"):  # inf - inf
            made.append(StepTensor("update", path, optimizer, step.after[path] - value))
    return made


def _activations(model: keras.Model, step: Step) -> Iterator[StepTensor]:
    layers = [v for v in model.layers if not isinstance(v, keras.layers.InputLayer)]
    wanted = {layer.name: (layer.input, layer.output) for layer in layers}
    found = keras.Model(model.input, wanted)(step.batch[0], training=True)
    for layer in layers:
        inputs, output = found[layer.name]
        given = [keras.ops.convert_to_numpy(value) for value in keras.tree.flatten(inputs)]
        # not the layer's own values now: batch norm's averages have moved on
        arrays = (*given, *(step.before[weight.path] for weight in layer.weights))
        value = keras.ops.convert_to_numpy(output)
        yield StepTensor("activation", layer.name, type(layer).__name__, value, arrays)


def _losses(model: keras.Model, step: Step, output: Array) -> Iterator[StepTensor]:
    _, y, *weight = step.batch
    loss, predicted = model.loss, keras.ops.convert_to_tensor(output)
    terms = loss.terms(y, predicted) if hasattr(loss, "terms") else {}
    for name, value in terms.items():
        yield StepTensor("term", name, type(loss).__name__, keras.ops.convert_to_numpy(value))
    for name, value in (
        ("each_sample", loss.call(keras.ops.convert_to_tensor(y), predicted)),
        ("batch", loss(y, predicted, sample_weight=weight[0] if weight else None)),
    ):
        yield StepTensor("loss", name, type(loss).__name__, keras.ops.convert_to_numpy(value))
