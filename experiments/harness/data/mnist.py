"""MNIST from a file, Keras's cache or its download; scikit-learn's digits as a substitute."""

from __future__ import annotations

import os
import socket
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import UserError

MNIST_SHA256 = "4f76fd525c9488d99230d37a7938f691808bcdfed8df1288cdf34070a4642551"
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
MAX_BYTES = 1 << 30
CLASSES = 10


def load(source: str) -> tuple[Dataset, str | None]:
    """Return the digits that ``source`` names, and a warning if they are a substitute.

    ``mnist`` is Keras's cached copy, else its download, else ``digits``; ``digits`` are
    scikit-learn's bundled scans; anything else is the path of an ``.npz`` file laid out as
    Keras's ``mnist.npz``. Raises ``UserError`` for a file that cannot be used.
    """
    if source == "digits":
        return _digits(), None
    if source != "mnist":
        return _from_file(Path(source)), None
    cached = _keras_cache()
    if not cached.exists():
        try:
            _download()
        except Exception as error:  # Keras raises a bare Exception when offline
            reason = (str(error) or repr(error)).splitlines()[0][:120]
            return _digits(), (
                f"MNIST is not cached and could not be downloaded ({reason}); "
                "scikit-learn's digits are used instead"
            )
    dataset = _from_file(cached)
    if dataset.stand_in:
        raise UserError(f"{cached} is not Keras's MNIST; move it away, or name a file with --data")
    return dataset, None


def _keras_cache() -> Path:
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "datasets" / "mnist.npz"


def _download() -> None:
    import keras

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        keras.datasets.mnist.load_data()
    finally:
        socket.setdefaulttimeout(timeout)


def _digits() -> Dataset:
    """Return scikit-learn's 8x8 digits, enlarged to 24x24 and padded to MNIST's 28x28."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    digits = load_digits()
    large = zoom(digits.images * (255 / 16), (1, 3, 3), order=1, grid_mode=True, mode="nearest")
    pixels = np.pad(np.rint(large).astype(np.uint8), ((0, 0), (2, 2), (2, 2)))
    labels = digits.target.astype(np.int32)
    return Dataset("digits", pixels[:1297], labels[:1297], pixels[1297:], labels[1297:])


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
    for split in ("train", "test"):
        _check_split(path, split, found[f"x_{split}"], found[f"y_{split}"])
    for labels in ("y_train", "y_test"):
        found[labels] = found[labels].astype(np.int32)
    x_train, y_train, x_test, y_test = (found[name] for name in ARRAYS)
    dataset = Dataset(path.name, x_train, y_train, x_test, y_test)
    real = dataset.sha256 == MNIST_SHA256
    return replace(dataset, name="mnist", stand_in=False) if real else dataset


def _check_split(path: Path, split: str, x: NDArray[Any], y: NDArray[Any]) -> None:
    if x.dtype != np.uint8 or x.shape[1:] != (28, 28) or not len(x):
        raise UserError(f"{path}: x_{split} is {x.dtype} {x.shape}, not uint8 (n, 28, 28)")
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise UserError(f"{path}: y_{split} is {y.dtype} {y.shape}, not integers ({len(x)},)")
    if y.min() < 0 or y.max() >= CLASSES:
        raise UserError(f"{path}: y_{split} has labels outside 0 to {CLASSES - 1}")
