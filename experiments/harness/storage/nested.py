"""Nested Python values, with arrays in them, as JSON and a list of arrays. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def split(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """Return ``value`` as JSON types, with its arrays appended to ``arrays``.

    Takes numbers, strings, None, arrays, and lists, tuples and dicts of these. Raises
    ``TypeError`` for anything else.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        arrays.append(np.asarray(value))
        return {"array" if isinstance(value, np.ndarray) else "number": len(arrays) - 1}
    if isinstance(value, Mapping):
        return {"dict": [[split(part, arrays) for part in item] for item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [split(part, arrays) for part in value]}
    if isinstance(value, list):
        return [split(part, arrays) for part in value]
    raise TypeError(f"{type(value).__name__} is not a number, text, array, list, tuple or dict")


def join(encoded: Any, arrays: Sequence[NDArray[Any]]) -> Any:
    """Undo ``split``."""
    if isinstance(encoded, list):
        return [join(part, arrays) for part in encoded]
    if not isinstance(encoded, dict):
        return encoded
    ((kind, content),) = encoded.items()
    if kind == "dict":
        return {join(key, arrays): join(part, arrays) for key, part in content}
    if kind == "tuple":
        return tuple(join(part, arrays) for part in content)
    return arrays[content] if kind == "array" else arrays[content][()]
