"""Find the first difference between two sequences, and the distance between two tensors. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.storage.fingerprint import CHECKSUM_DIGITS

RANDOM_STATES = ("generator/", "seed_generator_state")  # in the paths of random-number states


@dataclass(frozen=True)
class Distance:
    """How far apart two values of a tensor are.

    ``share`` of its elements differ. ``ulps`` is the largest distance between two finite elements,
    in units in the last place; for integers, their largest difference. ``finite_in_one`` counts the
    elements that are finite in only one of the two.
    """

    path: str
    elements: int
    share: float
    ulps: int
    finite_in_one: int

    def __str__(self) -> str:
        text = f"{self.path}: {100 * self.share:.3g} % of {self.elements:,} elements differ"
        text += f", by at most {self.ulps:,} ULP"
        if self.finite_in_one:
            text += f"; finite in only one of the two: {self.finite_in_one:,}"
        return text


def first_difference(a: Sequence[Any], b: Sequence[Any]) -> int | None:
    """Return the first index at which two sequences differ or one has ended; None if equal."""
    ended = object()
    pairs = zip_longest(a, b, fillvalue=ended)
    return next((index for index, (x, y) in enumerate(pairs) if x != y), None)


def differing_names(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """Return the names whose digests differ, in order."""
    return [name for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]


def first_differing_batch(a: str, b: str) -> int | None:
    """Return the first step of an interval, from 0, whose batch checksums differ."""
    index = first_difference(a, b)
    return None if index is None else index // CHECKSUM_DIGITS


def is_random_state(path: str) -> bool:
    """Return whether a variable is the state of a random-number generator."""
    return any(part in path for part in RANDOM_STATES)


def distance(path: str, a: NDArray[Any], b: NDArray[Any]) -> Distance:
    """Return the distance between two tensors of one shape and type."""
    differ = _bits(a) != _bits(b)
    finite_a, finite_b = np.isfinite(a), np.isfinite(b)
    both = finite_a & finite_b
    ulps = np.abs(_ordered_integers(a[both]) - _ordered_integers(b[both]))
    return Distance(
        path=path,
        elements=a.size,
        share=float(differ.mean()),
        ulps=int(ulps.max(initial=0)),
        finite_in_one=int((finite_a != finite_b).sum()),
    )


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def _ordered_integers(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return integers in the order of the values; those of neighbouring floats differ by one."""
    if values.dtype.kind != "f":
        return values.astype("int64")
    size = values.dtype.itemsize
    signed = np.ascontiguousarray(values).view(f"i{size}").astype("int64")
    return np.where(signed < 0, -(signed & (2 ** (8 * size - 1) - 1)), signed)
