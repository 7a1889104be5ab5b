"""The units of a layer as vectors, and how many of them are distinct."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unit_vectors(kernel: NDArray[Any], bias: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return a row for each unit: its incoming weights, then its bias if the layer has one."""
    rows = kernel.reshape(-1, kernel.shape[-1])
    return np.ascontiguousarray((rows if bias is None else np.vstack([rows, bias])).T)


def count_distinct(units: NDArray[Any]) -> int:
    """Return the number of different rows; 0 and -0 are equal."""
    return len({unit.tobytes() for unit in units + 0.0})
