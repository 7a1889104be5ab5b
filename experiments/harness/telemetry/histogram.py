"""A tensor's distribution, in the form of TensorBoard's histograms. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 64
CHUNK = 2**14  # values that fit in a processor's cache


@dataclass(frozen=True)
class Histogram:
    """Counts of the finite values in ``BINS`` bins of equal width, and their moments.

    ``edges`` are the bins' upper ends; ``nonfinite`` is the number of values left out.
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
    """Return the histogram of a tensor of any shape; its size is 0 without finite values."""
    values = tensor[np.isfinite(tensor)]
    nonfinite = int(tensor.size - values.size)
    if not values.size:
        return Histogram(np.zeros(BINS), np.zeros(BINS, "int64"), 0, 0, 0, 0, nonfinite)
    least, greatest = float(values.min()), float(values.max())
    low, high = _bin_range(least, greatest)
    counts, total, squares = np.zeros(BINS, "int64"), 0.0, 0.0
    for chunk in float64_chunks(values):  # 5 times faster than np.histogram
        total += float(chunk.sum())
        squares += float(np.dot(chunk, chunk))
        bins = ((chunk - low) * (BINS / (high - low))).astype("int64")
        counts += np.bincount(bins.clip(max=BINS - 1), minlength=BINS)
    edges = np.linspace(low, high, BINS + 1)[1:]
    return Histogram(edges, counts, least, greatest, total, squares, nonfinite)


def float64_chunks(tensor: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Yield a tensor's values in chunks of float64: sums and ranges overflow in float32."""
    values = tensor.ravel()
    for begin in range(0, values.size, CHUNK):
        yield values[begin : begin + CHUNK].astype("float64")


def _bin_range(least: float, greatest: float) -> tuple[float, float]:
    """Return the range of the values, or a narrow one around (nearly) equal values."""
    if greatest - least > BINS * np.spacing(max(abs(least), abs(greatest))):
        return least, greatest
    margin = max(abs(least), 1e-6) * 1e-3
    return least - margin, greatest + margin
