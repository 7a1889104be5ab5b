"""Where two runs part, and how far apart two tensors are. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.storage.fingerprint import CHECKSUM_DIGITS

SEEDS = ("generator/", "seed_generator_state")  # in the paths of what random numbers come from


@dataclass(frozen=True)
class Distance:
    """How far apart two values of a tensor are.

    ``share`` of its elements differ, ``ulps`` is the largest distance between two finite ones in
    units in the last place (of integers: their difference), ``lone`` how many are finite in one
    of the two only.
    """

    path: str
    elements: int
    share: float
    ulps: int
    lone: int

    def __str__(self) -> str:
        told = f"{self.path}: {self.share:.3g} of {self.elements:,} elements differ"
        told += f", by {self.ulps:,} ULP at most"
        return told + (f", {self.lone:,} are finite in one of the two only" if self.lone else "")


def first_difference(a: Sequence[Any], b: Sequence[Any]) -> int | None:
    """Return the first place at which two sequences differ, or one has ended; None if none."""
    ended = object()
    pairs = zip_longest(a, b, fillvalue=ended)
    return next((place for place, (x, y) in enumerate(pairs) if x != y), None)


def differing_names(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """Return the names whose digests differ, in order."""
    return [name for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]


def first_differing_batch(a: str, b: str) -> int | None:
    """Return the first of an interval's steps, from 0, whose batches' marks differ."""
    place = first_difference(a, b)
    return None if place is None else place // CHECKSUM_DIGITS


def is_random_state(path: str) -> bool:
    """Return whether a variable is what random numbers are drawn from."""
    return any(part in path for part in SEEDS)


def distance(path: str, a: NDArray[Any], b: NDArray[Any]) -> Distance:
    """Return how far apart two tensors of one shape and type are."""
    differ = _bits(a) != _bits(b)
    finite_a, finite_b = np.isfinite(a), np.isfinite(b)
    both = finite_a & finite_b
    apart = np.abs(_ordered(a[both]) - _ordered(b[both]))
    ulps, lone = int(apart.max(initial=0)), int((finite_a != finite_b).sum())
    return Distance(path, a.size, float(differ.mean()), ulps, lone)


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def _ordered(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return whole numbers in the order of the values, neighbours one apart."""
    if values.dtype.kind != "f":
        return values.astype("int64")
    size = values.dtype.itemsize
    signed = np.ascontiguousarray(values).view(f"i{size}").astype("int64")
    return np.where(signed < 0, -(signed & (2 ** (8 * size - 1) - 1)), signed)
