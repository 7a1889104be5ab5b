"""The scalars of a snapshot, computed from its tensors by tag. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.model.units import count_distinct, unit_vectors
from experiments.harness.telemetry.histogram import float64_chunks

Tensors = Mapping[str, NDArray[Any]]
Numbers = dict[str, float]


def count_distinct_units(variables: Tensors) -> Numbers:
    """Count each layer's distinct units: units with equal weights and bias count once."""
    counts = {}
    for tag, kernel in variables.items():
        layer, _, name = tag.rpartition("/")
        if name == "kernel":
            units = unit_vectors(kernel, variables.get(f"{layer}/bias"))
            counts[f"{layer}/distinct_units"] = float(count_distinct(units))
    return counts


def changes(before: Tensors, after: Tensors) -> Tensors:
    """Return the change of each tensor."""
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf
        return {tag: value - before[tag] for tag, value in after.items()}


def relative_updates(updates: Tensors, before: Tensors) -> Numbers:
    """Return the norm of each change relative to the norm before it."""
    norms = {tag: norm(before[tag]) for tag in updates}
    return {
        f"{tag}/relative_update": norm(update) / norms[tag]
        for tag, update in updates.items()
        if norms[tag]
    }


def gradient_norms(gradients: Tensors) -> Numbers:
    """Return the norm of each gradient."""
    return {f"{tag}/gradient_norm": norm(gradient) for tag, gradient in gradients.items()}


def output_statistics(outputs: Tensors, rectified: Collection[str]) -> Numbers:
    """Return each output's mean and spread, and each ReLU's share of dead units.

    The spread is the standard deviation. A unit or channel is dead if its output is 0 for the whole
    batch.
    """
    numbers = {}
    for tag, output in outputs.items():
        with np.errstate(invalid="ignore", over="ignore"):
            numbers[f"{tag}/mean"] = float(output.mean(dtype="float64"))
            numbers[f"{tag}/spread"] = float(output.std(dtype="float64"))
        if tag in rectified:
            units = output.reshape(-1, output.shape[-1])
            numbers[f"{tag}/dead"] = float(np.mean(~units.any(axis=0)))
    return numbers


def norm(tensor: NDArray[Any]) -> float:
    """Return the Euclidean norm."""
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.sqrt(sum(np.dot(piece, piece) for piece in float64_chunks(tensor))))
