"""The space of a hyperparameter search: fields of an arm, each over a range or a list of values.

Frozen data. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

Values = Mapping[str, Any]  # the value of each active dimension, by the dimension's name
Condition = tuple[str, Any]  # the name of another dimension and the value that it must have


@dataclass(frozen=True)
class Dimension:
    """One degree of freedom: all ``paths`` of an arm (see ``override``) get the same value.

    Without a range, the value is one of ``points``. With one it lies between ``low`` and ``high``,
    sampled on a linear or log scale, and ``points`` are those of a grid search. A dimension with a
    ``condition`` is active only if that holds.
    """

    paths: tuple[str, ...]
    points: tuple[Any, ...]
    low: float | None = None
    high: float | None = None
    log: bool = False
    condition: Condition | None = None

    @property
    def name(self) -> str:
        """The first path, which stands for all."""
        return self.paths[0]

    @property
    def short(self) -> str:
        """The path's last part."""
        return self.name.rpartition(".")[2]

    def to_json(self) -> dict[str, Any]:
        """Return the dimension as JSON types; the keys are part of a search's digest."""
        return {
            "paths": [*self.paths],
            "points": [*self.points],
            "low": self.low,
            "high": self.high,
            "log": self.log,
            "when": self.condition and [*self.condition],
        }


def numeric_range(
    *paths: str,
    low: float,
    high: float,
    log: bool = True,
    points: int = 5,
    condition: Condition | None = None,
) -> Dimension:
    """Return a dimension over a range, with ``points`` evenly spaced values for a grid."""
    shares = [k / (points - 1) if points > 1 else 0.5 for k in range(points)]
    ratio = high / low if log else 0.0
    values = tuple(round_value(low * ratio**s if log else low + (high - low) * s) for s in shares)
    return Dimension(paths, values, low, high, log, condition)


def round_value(value: float) -> float:
    """Round to four significant digits, so that a table shows the exact value of a trial."""
    return float(f"{value:.4g}")


KERNEL, RATE = "network.kernel_initializer", "optimizer.learning_rate"
DEFAULT_SPACE = (
    Dimension((KERNEL,), ("TruncatedNormal", "GlorotUniform", "HeNormal")),
    numeric_range(f"{KERNEL}.stddev", low=1e-4, high=1.0, condition=(KERNEL, "TruncatedNormal")),
    numeric_range(RATE, low=1e-4, high=1e-1, points=4),
)


def active_dimensions(space: Sequence[Dimension], values: Values) -> Iterator[Dimension]:
    """Yield the dimensions whose condition holds for ``values``."""
    for dimension in space:
        parent, value = dimension.condition or ("", None)
        if not parent or values.get(parent) == value:
            yield dimension


def grid_points(space: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Return every combination of the dimensions' points, the last dimension varying fastest."""
    combinations = {}
    for points in product(*(dimension.points for dimension in space)):
        values = dict(zip((dimension.name for dimension in space), points, strict=True))
        active = {d.name: values[d.name] for d in active_dimensions(space, values)}
        combinations[json.dumps(active)] = active
    return [*combinations.values()]


def to_overrides(space: Sequence[Dimension], values: Values) -> dict[str, Any]:
    """Return the values as an arm's overrides."""
    return {path: values[d.name] for d in active_dimensions(space, values) for path in d.paths}


def merge(space: Sequence[Dimension], others: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Return ``space`` with ``others`` added.

    Another dimension replaces those that share a path with it, and takes over their condition.
    Dimensions whose condition can no longer hold are left out.
    """

    def overlapping(one: Dimension, among: Sequence[Dimension]) -> list[Dimension]:
        return [other for other in among if set(one.paths) & set(other.paths)]

    def inherited_condition(new: Dimension) -> Condition | None:
        return next((old.condition for old in overlapping(new, space) if old.condition), None)

    added = [replace(new, condition=inherited_condition(new)) for new in others]
    replaced = [new for old in space for new in overlapping(old, added) or [old]]
    by_name = {dimension.name: dimension for dimension in (*replaced, *added)}
    reachable: dict[str, Dimension] = {}
    for dimension in by_name.values():
        parent, value = dimension.condition or ("", None)
        if not parent or (parent in reachable and value in reachable[parent].points):
            reachable[dimension.name] = dimension
    return tuple(reachable.values())


def parse(text: str) -> Dimension:
    """Parse the dimension that a user writes.

    ``PATH[+PATH...]=log:LOW:HIGH[:POINTS]``, ``=linear:LOW:HIGH[:POINTS]``, or a JSON list of
    values, ``=[0.1, 0.2]``. Raises ``ValueError``.
    """
    names, equals, values = text.partition("=")
    paths = tuple(names.split("+"))
    if not (equals and all(paths)):
        raise ValueError(f"{text!r} is not PATH=VALUES")
    if values.startswith("["):
        return Dimension(paths, _parse_list(text, values))
    kind, *numbers = values.split(":")
    if kind not in ("log", "linear") or len(numbers) not in (2, 3):
        raise ValueError(
            f"{text!r}: values must be log:LOW:HIGH[:POINTS], linear:LOW:HIGH[:POINTS] or a "
            "JSON list"
        )
    low, high = map(float, numbers[:2])
    points = int(numbers[2]) if numbers[2:] else 5
    if not (low < high < float("inf") and points > 0) or (kind == "log" and low <= 0):
        raise ValueError(f"{text!r}: the range is empty, or not above 0, or has no points")
    return numeric_range(*paths, low=low, high=high, log=kind == "log", points=points)


def _parse_list(text: str, values: str) -> tuple[Any, ...]:
    try:
        points = json.loads(values)
    except (ValueError, RecursionError):
        raise ValueError(f"{text!r}: the list is not JSON") from None
    if not points:
        raise ValueError(f"{text!r}: the list is empty")
    return tuple(points)
