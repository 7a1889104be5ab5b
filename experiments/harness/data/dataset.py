"""Datasets, and the order of their examples as a pure function of seed and step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_TRAIN_SHARE = 11 / 12  # document 000's loader holds out 5,000 of 60,000
VALIDATION_SIZE = 5_000

Examples = tuple[NDArray[Any], ...]  # inputs, targets and, where the dataset has them, weights


@dataclass(frozen=True)
class Dataset:
    """Images and their targets, in a fixed order.

    ``x_*`` are bytes ``(n, height, width)`` or ``(n, height, width, channels)``, ``y_*`` integer
    labels or floats ``(n,)``, ``w_*`` the samples' weights in the loss, where they have any. A
    network sees the bytes as floats divided by ``divisor``. ``stand_in`` is True for everything
    but the documents' own data.
    """

    name: str
    x_train: NDArray[np.uint8]
    y_train: NDArray[Any]
    x_test: NDArray[np.uint8]
    y_test: NDArray[Any]
    w_train: NDArray[np.float32] | None = None
    w_test: NDArray[np.float32] | None = None
    divisor: float = 255.0
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
        """Return what a record says of the data."""
        return {"name": self.name, "sha256": self.sha256, "stand_in": self.stand_in}

    def train(self, chosen: Any) -> Examples:
        """Return the training examples at ``chosen``, an index, a slice or an array of either."""
        return self._examples(self.x_train, self.y_train, self.w_train, chosen)

    def test(self, chosen: Any) -> Examples:
        """Return the test examples at ``chosen``."""
        return self._examples(self.x_test, self.y_test, self.w_test, chosen)

    def held_out(self, wanted: int) -> int:
        """Return how many training examples are kept out of training where ``wanted`` should be."""
        return min(wanted, len(self.x_train) - round(MIN_TRAIN_SHARE * len(self.x_train)))

    def validating(self) -> Dataset:
        """Return the data with the first training examples in the place of the test split.

        They are 5,000, a twelfth at most, and trained on no more: the test split is not seen.
        """
        first = self.held_out(VALIDATION_SIZE)
        split = {
            f"{part}_{name}": values[chosen]
            for part in "xyw"
            if (values := getattr(self, f"{part}_train")) is not None
            for name, chosen in (("test", slice(first)), ("train", slice(first, None)))
        }
        fresh: dict[str, Any] = {"name": f"{self.name}:validation", **split}
        return replace(self, **fresh)

    def _examples(self, x: Any, y: Any, w: Any, chosen: Any) -> Examples:
        return (
            scale_pixels(x[chosen], self.divisor),
            y[chosen],
            *(() if w is None else (w[chosen],)),
        )


def scale_pixels(pixels: NDArray[np.uint8], divisor: float = 255.0) -> NDArray[np.float32]:
    """Return bytes as floats divided by ``divisor``, ``(n, height, width, channels)``."""
    shaped = pixels[..., None] if pixels.ndim == 3 else pixels
    return np.divide(shaped, divisor, dtype=np.float32)
