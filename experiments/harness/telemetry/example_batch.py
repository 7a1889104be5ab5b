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

    Raises ``ValueError`` for anything else than arrays, DataFrames, and dicts or lists of one.
    """
    if not (isinstance(batch, tuple) and len(batch) in (2, 3)):
        raise ValueError(FORM)
    arrays = tuple(_to_array(part) for part in batch if part is not None)
    if len(arrays) < 2 or len({len(array) for array in arrays}) > 1 or not len(arrays[0]):
        lengths = " and ".join(str(len(array)) for array in arrays)
        raise ValueError(f"{FORM}, of one length of at least 1, not {lengths}")
    return arrays


def size_for(model: keras.Model, batch: Batch) -> int:
    """Return how many examples ``model`` takes at once: its fixed batch size, or at most 32.

    Raises ``ValueError`` if the batch has fewer than the fixed size.
    """
    fixed = model.inputs[0].shape[0]
    if fixed is not None and len(batch[0]) < fixed:
        raise ValueError(f"the model takes {fixed} examples at once; batch has {len(batch[0])}")
    return fixed or MAX_EXAMPLES


def _to_array(part: Any) -> NDArray[Any]:
    if isinstance(part, Mapping) and len(part) == 1:
        (part,) = part.values()
    elif isinstance(part, list | tuple) and len(part) == 1 and hasattr(part[0], "shape"):
        (part,) = part
    try:
        array = to_numpy(part)
    except Exception:  # each backend raises another
        array = np.asarray(None)
    if array.ndim == 0 or array.dtype == object:
        raise ValueError(f"{FORM}, each an array of numbers, not {type(part).__name__}")
    return array
