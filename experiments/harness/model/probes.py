"""What can be measured of a model beside its metrics: each probe maps what was seen to numbers.

An arm names its probes; they run before the first step, after each interval, and change no bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness.model.gradients import Gradients
from experiments.harness.model.variables import forward_variables, preserved

GRID = 1e-6
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ProbeInput:
    """A model, its first training batch, and its variables by path at three times.

    ``first`` before the first step, ``start`` before the interval, ``now`` after it; the three
    are the same where ``untrained``.
    """

    model: keras.Model
    batch: tuple[NDArray[Any], ...]
    first: Tensors
    start: Tensors
    now: Tensors
    untrained: bool


def distinct_units(seen: ProbeInput) -> dict[str, float]:
    """Count each layer's distinct units: exactly, and rounded to 1e-6 from the first one.

    A unit is its incoming weights and its bias. Those of a hidden layer are all equal for as long
    as nothing breaks the symmetry; the output's are not, as each has another label.
    """
    told: dict[str, float] = {}
    for layer in _weighted(seen.model):
        units = _units(layer, seen.now)
        grid = np.rint((units - units[:1]) / GRID)
        for suffix, rows in (("", units), ("_1e-6", grid)):
            told[f"{layer.name}_distinct{suffix}"] = len({row.tobytes() for row in rows + 0.0})
    return told


def movement(seen: ProbeInput) -> dict[str, float]:
    """Measure how kernels and biases moved, as the median over layers.

    ``update``: the norm of the interval's change by the norm before it. ``moved``: the mean
    distance of an element from where it began; ``shifted``: the same between the sorted elements,
    which is how far the *distribution* moved (its Wasserstein distance); both by the
    distribution's own width, the standard deviation of old and new elements together. Biases that
    begin as one constant have no width but their movement's: ``drift`` is the mean distance by
    the mean size before the first step.
    """
    told: dict[str, list[float]] = {}
    for layer in _weighted(seen.model):
        for name in ("kernel", "bias"):
            path = getattr(layer, name).path
            first, start, now = (t[path].ravel() for t in (seen.first, seen.start, seen.now))
            width = np.std(np.concatenate([first, now]), dtype="float64")
            for measure, change, size in (
                ("update", np.linalg.norm(now - start), np.linalg.norm(start)),
                ("moved", np.mean(np.abs(now - first)), width),
                ("drift", np.mean(np.abs(now - first)), np.mean(np.abs(first))),
                ("shifted", np.mean(np.abs(np.sort(now) - np.sort(first))), width),
            ):
                value = float(change / size) if size else 0.0
                told.setdefault(f"{name}_{measure}", []).append(value)
    return {name: median(values) for name, values in told.items()}


def variances(seen: ProbeInput) -> dict[str, float]:
    """Before any training, measure the variance of each layer's activation and kernel gradient.

    The activation is the output of the layer's nonlinearity, ``<layer>_<anything>`` of class
    ``Activation`` or ``ReLU``; the batch is the first one, in training mode.
    """
    if not seen.untrained:
        return {}
    outputs = {
        layer.name.rpartition("_")[0]: layer.output
        for layer in seen.model.layers
        if isinstance(layer, keras.layers.Activation | keras.layers.ReLU)
    }
    with preserved(seen.model, forward_variables):
        values = keras.Model(seen.model.input, outputs)(seen.batch[0], training=True)
        told = {f"{name}_activation_variance": _variance(v) for name, v in values.items()}
        for variable, gradient in Gradients(seen.model)(seen.batch).items():
            layer, _, kind = variable.rpartition("/")
            if kind == "kernel":
                told[f"{layer}_gradient_variance"] = _variance(gradient)
    return told


PROBES: dict[str, Callable[[ProbeInput], dict[str, float]]] = {
    probe.__name__: probe for probe in (distinct_units, movement, variances)
}


def _weighted(model: keras.Model) -> list[Any]:
    return [layer for layer in model.layers if getattr(layer, "kernel", None) is not None]


def _units(layer: Any, tensors: Tensors) -> NDArray[Any]:
    kernel, bias = tensors[layer.kernel.path], tensors[layer.bias.path]
    return np.ascontiguousarray(np.vstack([kernel.reshape(-1, kernel.shape[-1]), bias]).T)


def _variance(values: Any) -> float:
    return float(np.var(keras.ops.convert_to_numpy(values), dtype="float64"))
