"""The fingerprint of a run: a chain of hashes, one link an interval; a digest a tensor. Pure."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHECKSUM_DIGITS = 8  # digits of a batch's mark


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


def tensor_digest(tensor: NDArray[np.generic]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of a tensor's type, shape and bytes.

    A link says that something differs; the digests of the same tensors say what.
    """
    hasher = hashlib.sha256(f"{tensor.dtype} {tensor.shape}\n".encode())
    hasher.update(np.ascontiguousarray(tensor).data)
    return hasher.hexdigest()[:16]


def batch_checksum(indices: NDArray[np.int64]) -> str:
    """Return hexadecimal digits that stand for a batch: the indices of its examples, in order."""
    return f"{zlib.crc32(np.ascontiguousarray(indices).data):0{CHECKSUM_DIGITS}x}"


def tensor_digests(tensors: Mapping[str, NDArray[Any]], batches: str = "") -> dict[str, str]:
    """Return each tensor's digest by its path, after the checksums of ``batches`` if given."""
    digests = {path: tensor_digest(tensor) for path, tensor in tensors.items()}
    return {"batches": batches, **digests} if batches else digests
