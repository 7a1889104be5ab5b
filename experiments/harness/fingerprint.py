"""The fingerprint of a run: a chain of hashes, one link an interval."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def link(
    previous: str, tensors: Mapping[str, NDArray[np.generic]], metrics: Mapping[str, float]
) -> str:
    """Return SHA-256(previous link, every tensor, every metric), in hexadecimal.

    A tensor enters with its path, type, shape and bytes; a metric with its name and the bits of
    its float64; both in the mapping's order. The first link's ``previous`` is the empty string.
    """
    digest = hashlib.sha256(previous.encode())
    for path, tensor in tensors.items():
        digest.update(f"\n{path} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(np.ascontiguousarray(tensor).data)
    for name, value in metrics.items():
        digest.update(f"\n{name}\n".encode() + struct.pack("<d", value))
    return digest.hexdigest()
