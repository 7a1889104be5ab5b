"""A tensor's distribution, as TensorBoard's histograms have it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 64
PIECE = 2**14  # values that fit into a processor's own memory


@dataclass(frozen=True)
class Histogram:
    """The finite values' count in each of ``BINS`` bins of one width, and their moments.

    ``edges`` are the bins' upper ends; ``nonfinite`` of the tensor's values were left out.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    least: float
    greatest: float
    total: float
    squares: float
    nonfinite: int

    @property
    def size(self) -> int:
        """The number of finite values."""
        return int(self.counts.sum())


def compute_histogram(tensor: NDArray[Any]) -> Histogram:
    """Return the distribution of a tensor of any shape; without finite values it has no size."""
    values = tensor[np.isfinite(tensor)]
    nonfinite = int(tensor.size - values.size)
    if not values.size:
        return Histogram(np.zeros(BINS), np.zeros(BINS, "int64"), 0, 0, 0, 0, nonfinite)
    least, greatest = float(values.min()), float(values.max())
    low, high = _span(least, greatest)
    counts, total, squares = np.zeros(BINS, "int64"), 0.0, 0.0
    for piece in pieces(values):  # so done, and with these bins, 5 times faster than np.histogram
        total += float(piece.sum())
        squares += float(np.dot(piece, piece))
        places = ((piece - low) * (BINS / (high - low))).astype("int64")
        counts += np.bincount(places.clip(max=BINS - 1), minlength=BINS)
    edges = np.linspace(low, high, BINS + 1)[1:]
    return Histogram(edges, counts, least, greatest, total, squares, nonfinite)


def pieces(tensor: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Yield a tensor's values piece by piece: float32 overflows in sums, and in a range."""
    values = tensor.ravel()
    for begin in range(0, values.size, PIECE):
        yield values[begin : begin + PIECE].astype("float64")


def _span(least: float, greatest: float) -> tuple[float, float]:
    """Return the bins' range: that of the values, or a narrow one about a single value."""
    if greatest - least > BINS * np.spacing(max(abs(least), abs(greatest))):
        return least, greatest
    margin = max(abs(least), 1e-6) * 1e-3
    return least - margin, greatest + margin
