"""What a search varies: fields of an arm, each over a range or a list of values.

Frozen data. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

Values = Mapping[str, Any]  # a dimension's value by its name, those that are not active left out


@dataclass(frozen=True)
class Dimension:
    """One thing that is varied: all ``paths`` of an arm (``override``'s) get the same value.

    Its values are ``points``; or, where there is a range from ``low`` to ``high``, those in it,
    sampled evenly or by their logarithm, and ``points`` are what a grid takes of it. ``when``
    names another dimension and its value with which alone this one is active.
    """

    paths: tuple[str, ...]
    points: tuple[Any, ...]
    low: float | None = None
    high: float | None = None
    log: bool = False
    when: tuple[str, Any] | None = None

    @property
    def name(self) -> str:
        """The first path, which stands for all."""
        return self.paths[0]

    @property
    def short(self) -> str:
        """The path's last part."""
        return self.name.rpartition(".")[2]


def numeric_range(
    *paths: str, low: float, high: float, log: bool = True, points: int = 5, **options: Any
) -> Dimension:
    """Return a dimension over a range, with so many evenly spaced points for a grid."""
    shares = [k / (points - 1) if points > 1 else 0.5 for k in range(points)]
    ratio = high / low if log else 0.0
    values = tuple(round_value(low * ratio**s if log else low + (high - low) * s) for s in shares)
    return Dimension(paths, values, low, high, log, **options)


def round_value(value: float) -> float:
    """Return a number of four significant digits: what is tried can be written down."""
    return float(f"{value:.4g}")


KERNEL, RATE = "network.kernel_initializer", "optimizer.learning_rate"
DEFAULT_SPACE = (
    Dimension((KERNEL,), ("TruncatedNormal", "GlorotUniform", "HeNormal")),
    numeric_range(f"{KERNEL}.stddev", low=1e-4, high=1.0, when=(KERNEL, "TruncatedNormal")),
    numeric_range(RATE, low=1e-4, high=1e-1, points=4),
)


def active_dimensions(space: Sequence[Dimension], values: Values) -> Iterator[Dimension]:
    """Yield the dimensions that are active with those values of the ones before them."""
    for dimension in space:
        if dimension.when is None or values.get(dimension.when[0]) == dimension.when[1]:
            yield dimension


def grid_points(space: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Return every combination of the dimensions' points, the last one varying fastest."""
    combined = {}
    for points in product(*(dimension.points for dimension in space)):
        values = dict(zip((dimension.name for dimension in space), points, strict=True))
        kept = {
            dimension.name: values[dimension.name] for dimension in active_dimensions(space, values)
        }
        combined[json.dumps(kept)] = kept
    return [*combined.values()]


def to_overrides(space: Sequence[Dimension], values: Values) -> dict[str, Any]:
    """Return the values as an arm's overrides."""
    return {path: values[d.name] for d in active_dimensions(space, values) for path in d.paths}


def merge(space: Sequence[Dimension], others: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Return ``space`` with other dimensions in the place of those that share a path, or added.

    Such a one is active where what it replaces was. What no other leads to any more is left out.
    """

    def shared(one: Dimension, among: Sequence[Dimension]) -> list[Dimension]:
        return [other for other in among if set(one.paths) & set(other.paths)]

    fresh = [
        replace(other, when=next((old.when for old in shared(other, space) if old.when), None))
        for other in others
    ]
    placed = [new for old in space for new in shared(old, fresh) or [old]]
    named = {dimension.name: dimension for dimension in (*placed, *fresh)}
    kept: dict[str, Dimension] = {}
    for dimension in named.values():
        parent, value = dimension.when or ("", None)
        if not parent or (parent in kept and value in kept[parent].points):
            kept[dimension.name] = dimension
    return tuple(kept.values())


def parse(text: str) -> Dimension:
    """Return the dimension that a user writes.

    ``PATH[+PATH...]=log:LOW:HIGH[:POINTS]``, ``=linear:LOW:HIGH[:POINTS]``, or a JSON list of
    values, ``=[0.1, 0.2]``. Raises ``ValueError``.
    """
    names, equals, told = text.partition("=")
    paths = tuple(names.split("+"))
    if not (equals and all(paths)):
        raise ValueError(f"{text!r} is not PATH=VALUES")
    if told.startswith("["):
        return Dimension(paths, _listed(text, told))
    kind, *numbers = told.split(":")
    if kind not in ("log", "linear") or len(numbers) not in (2, 3):
        raise ValueError(
            f"{text!r}: values are log:LOW:HIGH, linear:LOW:HIGH, each maybe with :POINTS, "
            "or a JSON list"
        )
    low, high = map(float, numbers[:2])
    points = int(numbers[2]) if numbers[2:] else 5
    if not (low < high < float("inf") and points > 0) or (kind == "log" and low <= 0):
        raise ValueError(f"{text!r}: the range is empty, or not above 0, or has no points")
    return numeric_range(*paths, low=low, high=high, log=kind == "log", points=points)


def _listed(text: str, told: str) -> tuple[Any, ...]:
    try:
        values = json.loads(told)
    except (ValueError, RecursionError):
        raise ValueError(f"{text!r}: the list is not JSON") from None
    if not values:
        raise ValueError(f"{text!r}: the list is empty")
    return tuple(values)
