"""Data of a user's own, of any shape: what a function returns, or the arrays in an .npz file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import UserError, describe_error
from experiments.harness.storage.source_code import is_reference, load_function

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
WEIGHTS = ("w_train", "w_test")
SUFFIX = ".npz"
INT32 = np.iinfo(np.int32)


def is_own(name: str) -> bool:
    """Return whether an arm's ``dataset`` is a user's: ``module:function`` or an .npz file."""
    return is_reference(name) or name.endswith(SUFFIX)


def load(source: str, stand_in: bool = False) -> Dataset:
    """Return the data of the function or the .npz file that ``source`` names.

    They are ``x_train, y_train, x_test, y_test`` in this order or by name; ``w_train`` and
    ``w_test``, the samples' weights, may be added by name. Bytes ``(n, height, width)`` and
    ``(n, height, width, channels)`` are images, given to a network as floats from 0 to 1. All else
    is given as it is, as float32 or int32. Raises ``UserError`` for data that cannot be used.
    """
    name = source if is_reference(source) else Path(source).name
    found = _from_function(source) if is_reference(source) else _from_file(Path(source))
    try:
        arrays = {name: _to_array(name, value) for name, value in found.items()}
        _check_shapes(arrays)
        images = all(_are_images(arrays[f"x_{split}"]) for split in ("train", "test"))
        fields: dict[str, Any] = {
            name: value if images and name.startswith("x") else _to_32_bits(name, value)
            for name, value in arrays.items()
        }
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    return Dataset(name, **fields, divisor=255.0 if images else None, stand_in=stand_in)


def _from_function(reference: str) -> Mapping[str, Any]:
    function = load_function(reference)
    try:
        found = function()
    except Exception as error:  # it is the user's code
        raise UserError(f"{reference} failed: {describe_error(error)}") from None
    if isinstance(found, tuple | list):
        if len(found) == 2 and all(isinstance(each, tuple | list) for each in found):
            found = [each for split in found for each in split]  # as keras.datasets returns them
        if len(found) == len(ARRAYS):
            return dict(zip(ARRAYS, found, strict=True))
    if not isinstance(found, Mapping):
        raise UserError(f"{reference} returned {_describe(found)}, not {', '.join(ARRAYS)}")
    return _named(found, f"{reference} returned")


def _from_file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _named(arrays, f"{path} has")
    except UserError:
        raise
    except Exception as error:  # a damaged file can make numpy and zipfile raise anything
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} cannot be read as an .npz file of arrays: {reason}") from None


def _named(found: Mapping[str, Any], beginning: str) -> Mapping[str, Any]:
    """Return the arrays that count; ``UserError`` if one is missing."""
    optional = [name for name in WEIGHTS if name in found]
    wanted = [*ARRAYS, *(WEIGHTS if optional else ())]
    if missing := [name for name in wanted if name not in found]:
        raise UserError(f"{beginning} no {' and no '.join(missing)}")
    return {name: found[name] for name in wanted}


def _to_array(name: str, value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except Exception as error:
        raise ValueError(f"{name} is not an array: {describe_error(error)}") from None
    if array.dtype.kind not in "buif" or not array.ndim or not len(array):
        raise ValueError(f"{name} is {_describe(array)}, not numbers (n, ...)")
    return array


def _check_shapes(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise ``ValueError`` if the arrays do not belong together."""
    for split in ("train", "test"):
        x = arrays[f"x_{split}"]
        for name in (f"y_{split}", f"w_{split}"):
            if name in arrays and len(arrays[name]) != len(x):
                raise ValueError(f"x_{split} has {len(x)} examples, but {name} {len(arrays[name])}")
    for part in "xy":
        train, test = arrays[f"{part}_train"], arrays[f"{part}_test"]
        if train.shape[1:] != test.shape[1:] or train.dtype.kind != test.dtype.kind:
            raise ValueError(
                f"{part}_train is {_describe(train)} and {part}_test {_describe(test)}: examples "
                "of two kinds"
            )


def _are_images(x: NDArray[Any]) -> bool:
    return x.dtype == np.uint8 and x.ndim in (3, 4)


def _to_32_bits(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return float32 or int32; ``ValueError`` for values that are not finite, or too large."""
    if name.startswith(("y", "w")) and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if name.startswith("w") and array.ndim != 1:
        raise ValueError(f"{name} is {_describe(array)}, not one weight for each example")
    if array.dtype.kind == "f" or name.startswith("w"):
        with np.errstate(over="ignore"):
            floats = array.astype(np.float32)
        if not np.isfinite(floats).all():
            raise ValueError(f"{name} has values that are not finite in float32")
        return floats
    if name.startswith("y") and is_one_hot(array):
        return array.astype(np.float32)
    if array.min() < INT32.min or array.max() > INT32.max:
        raise ValueError(f"{name} has values beyond those of int32")
    return array.astype(np.int32)


def is_one_hot(labels: NDArray[Any]) -> bool:
    """Return whether each row ``(n, classes)`` is a 1 and else 0."""
    if labels.ndim != 2 or labels.shape[1] < 2:
        return False
    binary = ((labels == 0) | (labels == 1)).all()
    return bool(binary and (labels.astype(bool).sum(1) == 1).all())


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "nothing" if value is None else f"a {type(value).__name__}"
