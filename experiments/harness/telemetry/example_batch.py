"""The examples that telemetry reads a model on, as arrays of the size that the model takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness.model.gradients import Batch
from experiments.harness.model.variables import to_numpy

MAX_EXAMPLES = 32
FORM = "batch must be a tuple of inputs, targets and optional sample weights"


def to_arrays(batch: Any) -> Batch:
    """Return inputs, targets and optional sample weights as arrays of equal length.

    Several inputs or outputs stay dicts or tuples of arrays; a dict or list of one becomes the
    array. Raises ``ValueError`` for anything else than arrays, DataFrames, and these.
    """
    if not (isinstance(batch, tuple) and len(batch) in (2, 3)):
        raise ValueError(FORM)
    parts = tuple(_to_array(part) for part in batch if part is not None)
    arrays = keras.tree.flatten(parts)
    if len(parts) < 2 or len({len(array) for array in arrays}) > 1 or not len(arrays[0]):
        lengths = " and ".join(str(len(array)) for array in arrays)
        raise ValueError(f"{FORM}, of one length of at least 1, not {lengths}")
    return parts


def first_examples(model: keras.Model, batch: Batch) -> Batch:
    """Return as many examples as ``model`` takes at once: its fixed batch size, or at most 32.

    Raises ``ValueError`` if the batch has fewer than the fixed size.
    """
    inputs = getattr(model, "inputs", None)  # a subclassed model has none
    fixed = inputs[0].shape[0] if inputs else None
    length = len(keras.tree.flatten(batch)[0])
    if fixed is not None and length < fixed:
        raise ValueError(f"the model takes {fixed} examples at once; batch has {length}")
    return keras.tree.map_structure(lambda part: part[: fixed or MAX_EXAMPLES], batch)


def _to_array(part: Any) -> Any:
    if isinstance(part, Mapping):
        return _single({name: _to_array(each) for name, each in part.items()})
    if isinstance(part, list | tuple) and part and all(hasattr(each, "shape") for each in part):
        return _single(dict(enumerate(map(_to_array, part))), tuple)
    return _array(part)


def _single(parts: dict[Any, Any], kind: type = dict) -> Any:
    if len(parts) == 1:
        return next(iter(parts.values()))
    return parts if kind is dict else tuple(parts.values())


def _array(part: Any) -> NDArray[Any]:
    try:
        array = to_numpy(part)
    except Exception:  # each backend raises another
        array = np.asarray(None)
    if array.ndim == 0 or array.dtype == object:
        raise ValueError(f"{FORM}, each an array of numbers, not {type(part).__name__}")
    return array
