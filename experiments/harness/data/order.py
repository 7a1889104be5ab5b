"""The order of training examples, as a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from experiments.harness.data.dataset import Dataset, Examples


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(examples)


def batch_positions(seed: int, step: int, batch_size: int, examples: int) -> NDArray[np.int64]:
    """Return the indices of the batch at ``step``, of ``examples`` examples.

    Each epoch has its own permutation. A batch that reaches past an epoch's end continues with the
    start of the next, as in the documents' loader.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(positions, examples)
    parts = [_epoch_order(seed, int(e), examples)[offsets[epochs == e]] for e in np.unique(epochs)]
    return np.concatenate(parts)


def batches(
    data: Dataset,
    seed: int,
    batch_size: int,
    first_step: int = 0,
    held_out: int = 0,
    on_batch: Callable[[int, NDArray[np.int64]], None] | None = None,
) -> Iterator[Examples]:
    """Yield training batches endlessly, from ``first_step`` on.

    The first ``held_out`` examples are left out. ``on_batch`` is called before each batch is
    yielded, with its step, counted from 0, and the indices of its examples.
    """
    for step in count(first_step):
        indices = batch_indices(data, seed, step, batch_size, held_out)
        if on_batch:
            on_batch(step, indices)
        yield data.train(indices)


def batch_indices(
    data: Dataset, seed: int, step: int, batch_size: int, held_out: int = 0
) -> NDArray[np.int64]:
    """Return the indices in the training split of the batch at ``step``."""
    first = data.held_out_count(held_out)
    return first + batch_positions(seed, step, batch_size, len(data.x_train) - first)
