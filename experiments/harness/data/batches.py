"""Batches of a user's own arrays, in an order that is a function of seed and step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.data_adapter import DataAdapter
from numpy.typing import NDArray

from experiments.harness.data import keras_input, order
from experiments.harness.spec import UserError

HASHED_BYTES = 2**28  # of an array; of a larger one, rows spread evenly are hashed
LOOKED_AT = 1, 2  # batches that are taken to build a model; on a GPU JAX takes one ahead


class Batches(DataAdapter):
    """Batches for ``fit`` whose examples depend on seed and step alone.

    ``x``, ``y`` and ``sample_weight`` are arrays, or dicts or tuples of arrays for several inputs
    or outputs. ``x`` may also be a function that takes the indices of ``examples`` examples, an
    array of integers, and returns their batch: inputs, targets and optional sample weights.

    Each pass over the examples has its own permutation. An epoch takes ``steps`` steps, by default
    as many as one pass needs. All batches are full: one that reaches past the end of a pass
    continues with the next. ``batches[step]`` is the batch at a step, from 0. ``next_epoch`` is the
    epoch that ``fit`` begins next, from 0: ``Recorder`` sets it, else it counts up from 0. Give
    ``steps`` here rather than ``steps_per_epoch`` to ``fit``.
    ``fit`` ignores its arguments ``shuffle``, ``class_weight`` and ``batch_size`` for batches.
    Raises ``UserError`` for arrays of different lengths, and without any example.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int = 32,
        seed: int = 0,
        steps: int | None = None,
        examples: int | None = None,
    ) -> None:
        self.function: Callable[[NDArray[np.int64]], Any] | None = x if callable(x) else None
        parts = () if self.function else (x, y, sample_weight)
        given = tuple(part for part in parts if part is not None)
        self.arrays = keras.tree.map_structure(_to_array, keras.tree.lists_to_tuples(given))
        if sample_weight is not None and y is None:
            raise UserError("Batches with sample weights need targets")
        if bool(self.function) != (examples is not None):
            raise UserError("Batches needs examples=N for a function of indices, and only for it")
        self.examples = _count(self.arrays) if examples is None else examples
        numbers = {"batch_size": batch_size, "examples": self.examples, "seed": seed}
        for name, value in numbers.items():
            if type(value) is not int or value < (name != "seed"):
                raise UserError(f"Batches needs a whole number as {name}, not {value!r}")
        self.seed, self.size = seed, batch_size
        self.steps = -(-self.examples // batch_size) if steps is None else steps
        self.next_epoch = self._epoch = 0
        self._taken: int | None = None  # of an iterator made since the epoch began

    def indices(self, step: int) -> NDArray[np.int64]:
        """Return the indices of the examples at a step, counted from 0 over all epochs."""
        return order.batch_positions(self.seed, step, self.size, self.examples)

    def identity(self) -> dict[str, Any]:
        """Return what decides the batches, as JSON types; of a function, only its name."""
        if self.function:
            content = getattr(self.function, "__qualname__", type(self.function).__name__)
        else:
            content = hash_arrays(self.arrays)
        return {
            "kind": "Batches",
            "content": content,
            "examples": self.examples,
            "batch_size": self.size,
            "seed": self.seed,
        }

    def __getitem__(self, step: int) -> Any:
        if step < 0:
            raise IndexError(step)
        indices = self.indices(step)
        if self.function:
            return keras.tree.lists_to_tuples(self.function(indices))
        return keras.tree.map_structure(lambda part: _as_keras_does(part[indices]), self.arrays)

    def __len__(self) -> int:
        return self.steps

    def _of_epoch(self) -> Iterator[Any]:
        first = self._epoch * self.steps
        return (self[step] for step in range(first, first + self.steps))

    # What Keras calls, as ``DataAdapter`` documents it.

    def get_numpy_iterator(self) -> Iterator[Any]:
        self._taken = 0
        return self._counted(self._of_epoch())

    def get_jax_iterator(self) -> Iterator[Any]:
        return data_adapter_utils.get_jax_iterator(self.get_numpy_iterator())

    def get_torch_dataloader(self) -> Any:
        return data_adapter_utils.get_torch_dataloader(self.get_numpy_iterator())

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            if self._taken is not None:
                self._taken += 1
            yield batch

    def get_tf_dataset(self) -> Any:
        first = [self[0], self[1]] if self.function else [self[0]]
        return keras_input.epoch_input(self._of_epoch, first, one_size=not self.function)

    @property
    def num_batches(self) -> int:
        return self.steps

    @property
    def batch_size(self) -> int:
        return self.size

    @property
    def has_partial_batch(self) -> bool:
        return False

    @property
    def partial_batch_size(self) -> None:
        return None

    def on_epoch_begin(self) -> None:
        self._epoch = self.next_epoch
        self.next_epoch += 1
        self._taken = None

    def on_epoch_end(self) -> None:
        # On JAX and PyTorch Keras takes a batch to build the model, and then begins the epoch anew.
        # At the end of a whole epoch it has made the next iterator, of which nothing is taken.
        if self._taken in LOOKED_AT and self.next_epoch == self._epoch + 1:
            self.next_epoch = self._epoch


def hash_arrays(arrays: Any) -> str:
    """Return the SHA-256 of nested arrays, in hexadecimal; of large ones, of a part of the rows."""
    digest = hashlib.sha256()
    for path, array in keras.tree.flatten_with_path(arrays):
        values = _to_numpy(array)
        digest.update(f"{path} {values.dtype} {values.shape} ".encode())
        stride = -(-values.nbytes // HASHED_BYTES) if values.ndim else 1
        content = values[::stride] if stride > 1 else values
        if content.dtype == object:
            digest.update(repr(content.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(content).tobytes())
    return digest.hexdigest()


def _to_numpy(part: Any) -> NDArray[Any]:
    """Return an array of NumPy's, of TensorFlow's and JAX's tensors without a copy if possible."""
    if hasattr(part, "detach"):  # PyTorch's
        part = part.detach().cpu()
        if str(part.dtype) == "torch.bfloat16":  # which NumPy lacks
            return part.float().numpy().astype("bfloat16")
    return np.asarray(part)


def _to_array(part: Any) -> NDArray[Any]:
    array = _to_numpy(part)
    if not array.ndim:
        raise UserError(f"Batches needs arrays with a first axis, not {part!r}")
    return array


def _count(arrays: Any) -> int:
    lengths = {len(array) for array in keras.tree.flatten(arrays)}
    if len(lengths) != 1:
        found = " and ".join(map(str, sorted(lengths)))
        raise UserError(f"Batches needs arrays of one length, not {found or 'none'}")
    return lengths.pop()


def _as_keras_does(part: NDArray[Any]) -> NDArray[Any]:
    return part.astype(keras.config.floatx()) if part.dtype == np.float64 else part
