"""Measurements of a model besides its metrics: each probe maps a ``ProbeInput`` to numbers.

An arm names its probes. They run before the first step and after each interval, and leave the
model unchanged.
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
from experiments.harness.model.units import count_distinct, unit_vectors
from experiments.harness.model.variables import forward_variables, preserved, to_numpy

GRID = 1e-6
QUIET = np.errstate(divide="ignore", invalid="ignore", over="ignore")  # a diverged model
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ProbeInput:
    """A model, its first training batch, and its variables by path at three times.

    ``first`` is before the first step, ``start`` before the interval and ``now`` after it; the
    three are equal if ``untrained``.
    """

    model: keras.Model
    batch: tuple[NDArray[Any], ...]
    first: Tensors
    start: Tensors
    now: Tensors
    untrained: bool


@QUIET
def distinct_units(seen: ProbeInput) -> dict[str, float]:
    """Count each layer's distinct units: exactly, and with distances to the first rounded to 1e-6.

    A unit is the vector of its incoming weights and its bias. In a hidden layer all are equal until
    something breaks the symmetry; output units differ because their labels do.
    """
    counts: dict[str, float] = {}
    for layer in _layers_with_kernels(seen.model):
        units = unit_vectors(seen.now[layer.kernel.path], seen.now[layer.bias.path])
        grid = np.rint((units - units[:1]) / GRID)
        for suffix, rows in (("", units), ("_1e-6", grid)):
            counts[f"{layer.name}_distinct{suffix}"] = count_distinct(rows)
    return counts


@QUIET
def unit_spread(seen: ProbeInput) -> dict[str, float]:
    """Measure how far each layer's units are apart: 0 if all are equal.

    The largest difference between a unit's element and the mean unit's, relative to the mean unit's
    largest magnitude.
    """
    measured = {}
    for layer in _layers_with_kernels(seen.model):
        units = unit_vectors(seen.now[layer.kernel.path], seen.now[layer.bias.path])
        mean_unit = np.mean(units, axis=0, dtype="float64")
        distance, size = np.max(np.abs(units - mean_unit)), np.max(np.abs(mean_unit))
        measured[f"{layer.name}_spread"] = float(distance / size) if distance else 0.0
    return measured


@QUIET
def movement(seen: ProbeInput) -> dict[str, float]:
    """Measure how far kernels and biases moved, as the median over layers.

    ``update`` is the norm of the interval's change relative to the norm before it. ``moved`` is the
    mean distance of an element from its initial value; ``shifted`` is the same for the sorted
    elements, which is the movement of the *distribution* (its Wasserstein distance). Both are
    relative to the distribution's width, the standard deviation of initial and current elements
    together. Biases with one constant initial value have no width but that of their movement:
    ``drift`` is the mean distance relative to the mean initial magnitude. No experiment of the
    catalogue uses this probe; older runs do.
    """
    measured: dict[str, list[float]] = {}
    for layer in _layers_with_kernels(seen.model):
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
                measured.setdefault(f"{name}_{measure}", []).append(value)
    return {name: median(values) for name, values in measured.items()}


@QUIET
def distribution_shift(seen: ProbeInput) -> dict[str, float]:
    """Measure how far each layer's distributions of weights and of biases moved, in like units.

    The mean distance of the sorted elements from the sorted initial ones (the Wasserstein
    distance), relative to the mean initial magnitude. Variables that start at 0 are left out.
    """
    measured = {}
    for layer in _layers_with_kernels(seen.model):
        for name in ("kernel", "bias"):
            path = getattr(layer, name).path
            first, now = (np.sort(tensors[path], axis=None) for tensors in (seen.first, seen.now))
            if size := np.mean(np.abs(first)):
                measured[f"{layer.name}_{name}_shift"] = float(np.mean(np.abs(now - first)) / size)
    return measured


@QUIET
def weight_movement(seen: ProbeInput) -> dict[str, float]:
    """Measure how far each layer's weights moved, element by element.

    ``<layer>_kernel_moved`` is the mean distance of an element from its initial value, relative to
    the mean initial magnitude, as ``distribution_shift`` has it for the distribution.
    ``<layer>_kernel_update`` is the norm of the interval's change relative to the norm before it.
    Layers whose weights start at 0 are left out.
    """
    measured: dict[str, float] = {}
    for layer in _layers_with_kernels(seen.model):
        path = layer.kernel.path
        first, start, now = seen.first[path], seen.start[path], seen.now[path]
        if not (size := np.mean(np.abs(first))):
            continue
        moved = np.mean(np.abs(now - first)) / size
        update = np.linalg.norm(now - start) / np.linalg.norm(start)
        measured |= {
            f"{layer.name}_kernel_moved": float(moved),
            f"{layer.name}_kernel_update": float(update),
        }
    return measured


@QUIET
def variances(seen: ProbeInput) -> dict[str, float]:
    """Measure the variance of each layer's activation and kernel gradient, before training only.

    The activation is the output of the layer's nonlinearity, a layer ``<layer>_<anything>`` of
    class ``Activation`` or ``ReLU``, on the first batch in training mode.
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
        measured = {f"{name}_activation_variance": _variance(v) for name, v in values.items()}
        for path, gradient in Gradients(seen.model)(seen.batch).items():
            layer, _, name = path.rpartition("/")
            if name == "kernel":
                measured[f"{layer}_gradient_variance"] = _variance(gradient)
    return measured


PROBES: dict[str, Callable[[ProbeInput], dict[str, float]]] = {
    probe.__name__: probe
    for probe in (
        distinct_units,
        unit_spread,
        movement,
        distribution_shift,
        weight_movement,
        variances,
    )
}


def _layers_with_kernels(model: keras.Model) -> list[Any]:
    return [layer for layer in model.layers if getattr(layer, "kernel", None) is not None]


def _variance(values: Any) -> float:
    return float(np.var(to_numpy(values), dtype="float64"))
