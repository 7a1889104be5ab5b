"""The order of training examples, as a function of seed and step."""

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
        chosen = batch_indices(data, seed, step, batch_size, held_out)
        if note:
            note(step, chosen)
        yield data.train(chosen)


def batch_indices(
    data: Dataset, seed: int, step: int, batch_size: int, held_out: int = 0
) -> NDArray[np.int64]:
    """Return where in the training split the examples of the batch at ``step`` stand."""
    begin = data.held_out(held_out)
    return begin + batch_positions(seed, step, batch_size, len(data.x_train) - begin)
