"""A dataset's arrays, and its training, validation and test splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_TRAIN_SHARE = 11 / 12  # document 000's loader holds out 5,000 of 60,000
VALIDATION_SIZE = 5_000

Examples = tuple[NDArray[Any], ...]  # inputs, targets and, if the dataset has them, weights


@dataclass(frozen=True)
class Dataset:
    """Examples and their targets, in a fixed order.

    ``x_*`` are images as bytes, ``(n, height, width)`` or ``(n, height, width, channels)``, which a
    network receives as floats divided by ``divisor``; or, if ``divisor`` is None, arrays of any
    shape ``(n, ...)``, which it receives as they are. ``y_*`` are integer labels or floats
    ``(n,)``, a user's of any shape ``(n, ...)``; ``w_*`` the samples' weights in the loss, if there
    are any. ``stand_in`` is False only for the documents' own data, and a user's own.
    """

    name: str
    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]
    w_train: NDArray[np.float32] | None = None
    w_test: NDArray[np.float32] | None = None
    divisor: float | None = 255.0
    stand_in: bool = True

    @cached_property
    def sha256(self) -> str:
        """The hash of all arrays' types, shapes and bytes, in hexadecimal."""
        digest = hashlib.sha256()
        for name, array in vars(self).items():
            if isinstance(array, np.ndarray):
                digest.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
        return digest.hexdigest()

    def identity(self) -> dict[str, Any]:
        """Return the fields that identify the data in a run's record."""
        return {"name": self.name, "sha256": self.sha256, "stand_in": self.stand_in}

    def train(self, indices: Any) -> Examples:
        """Return the training examples at ``indices``, a slice or an array of integers."""
        return self._select(self.x_train, self.y_train, self.w_train, indices)

    def test(self, indices: Any) -> Examples:
        """Return the test examples at ``indices``."""
        return self._select(self.x_test, self.y_test, self.w_test, indices)

    def held_out_count(self, wanted: int) -> int:
        """Return how many training examples to hold out: ``wanted``, a twelfth of them at most."""
        return min(wanted, len(self.x_train) - round(MIN_TRAIN_SHARE * len(self.x_train)))

    def with_validation_split(self) -> Dataset:
        """Return the dataset with part of the training split in place of the test split.

        The first 5,000 training examples, a twelfth at most, move there.
        """
        count = self.held_out_count(VALIDATION_SIZE)
        fields: dict[str, Any] = {"name": f"{self.name}:validation"}
        for part in "xyw":
            values = getattr(self, f"{part}_train")
            if values is not None:
                fields |= {f"{part}_test": values[:count], f"{part}_train": values[count:]}
        return replace(self, **fields)

    def _select(self, x: Any, y: Any, w: Any, indices: Any) -> Examples:
        weights = () if w is None else (w[indices],)
        inputs = x[indices]
        if self.divisor is not None:
            inputs = scale_pixels(inputs, self.divisor)
        return inputs, y[indices], *weights


def scale_pixels(pixels: NDArray[np.uint8], divisor: float = 255.0) -> NDArray[np.float32]:
    """Return bytes as floats divided by ``divisor``, ``(n, height, width, channels)``."""
    shaped = pixels[..., None] if pixels.ndim == 3 else pixels
    return np.divide(shaped, divisor, dtype=np.float32)
