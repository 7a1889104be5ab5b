"""Datasets, and the order of their examples as a pure function of seed and step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_TRAINED = 11 / 12  # document 000's loader holds out 5,000 of 60,000
VALIDATION = 5_000

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
        return min(wanted, len(self.x_train) - round(LEAST_TRAINED * len(self.x_train)))

    def validating(self) -> Dataset:
        """Return the data with the first training examples in the place of the test split.

        They are 5,000, a twelfth at most, and trained on no more: the test split is not seen.
        """
        first = self.held_out(VALIDATION)
        split = {
            f"{part}_{name}": values[chosen]
            for part in "xyw"
            if (values := getattr(self, f"{part}_train")) is not None
            for name, chosen in (("test", slice(first)), ("train", slice(first, None)))
        }
        fresh: dict[str, Any] = {"name": f"{self.name}:validation", **split}
        return replace(self, **fresh)

    def _examples(self, x: Any, y: Any, w: Any, chosen: Any) -> Examples:
        return images(x[chosen], self.divisor), y[chosen], *(() if w is None else (w[chosen],))


def images(pixels: NDArray[np.uint8], divisor: float = 255.0) -> NDArray[np.float32]:
    """Return bytes as floats divided by ``divisor``, ``(n, height, width, channels)``."""
    shaped = pixels[..., None] if pixels.ndim == 3 else pixels
    return np.divide(shaped, divisor, dtype=np.float32)


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(examples)


def order(seed: int, step: int, batch_size: int, examples: int) -> NDArray[np.int64]:
    """Return the indices of the batch at ``step``, a function of the arguments alone.

    Every epoch is a permutation of its own; a batch that an epoch's end falls into goes on with
    the next one's beginning, as the documents' loader does.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = np.divmod(positions, examples)
    parts = [_epoch_order(seed, int(e), examples)[places[epochs == e]] for e in np.unique(epochs)]
    return np.concatenate(parts)


def batches(
    data: Dataset,
    seed: int,
    batch_size: int,
    first_step: int = 0,
    held_out: int = 0,
    note: Callable[[int, NDArray[np.int64]], None] | None = None,
) -> Iterator[Examples]:
    """Yield training batches for ever, from ``first_step`` on, without the ``held_out`` first.

    ``note`` gets each step, counted from 0, and the indices of its examples before they are fed.
    """
    for step in count(first_step):
        chosen = indices(data, seed, step, batch_size, held_out)
        if note:
            note(step, chosen)
        yield data.train(chosen)


def indices(
    data: Dataset, seed: int, step: int, batch_size: int, held_out: int = 0
) -> NDArray[np.int64]:
    """Return where in the training split the examples of the batch at ``step`` stand."""
    begin = data.held_out(held_out)
    return begin + order(seed, step, batch_size, len(data.x_train) - begin)
