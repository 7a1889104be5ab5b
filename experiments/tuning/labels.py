"""How trials are named, ordered and arranged in the pictures of a search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from experiments.harness.spec import Dimension, search_space
from experiments.tuning.search import FinishedTrial, Search, Trials


def trial_label(search: Search, values: Mapping[str, Any], omit: str = "") -> str:
    """Return a trial's values as a short text, without those that another one implies.

    ``omit`` is the name of a dimension to leave out.
    """
    active = [*search_space.active_dimensions(search.trainer.space, values)]
    implied = {dimension.condition[0] for dimension in active if dimension.condition}
    names = [d.name for d in active if d.name in values and d.name not in implied | {omit}]
    return ", ".join(format_value(values[name]) for name in names)


def format_value(value: Any) -> str:
    """Return a dimension's value as a short text."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def horizontal_dimension(search: Search) -> Dimension:
    """Return the last dimension that is always active, so that every trial has a value of it."""
    return next(d for d in reversed(search.trainer.space) if d.condition is None)


def vertical_label(search: Search) -> str:
    """Return the names of all other dimensions that no condition refers to."""
    parents = {d.condition[0] for d in search.trainer.space if d.condition}
    omitted = parents | {horizontal_dimension(search).name}
    return ", ".join(d.short for d in search.trainer.space if d.name not in omitted)


def distinct_values(trials: Trials, dimension: Dimension) -> list[Any]:
    """Return the trials' values of a dimension, sorted, each once."""
    values = [trial.values[dimension.name] for trial in trials.values()]
    return sorted({json.dumps(value): value for value in values}.values(), key=_value_key)


def sort_key(search: Search, trial: FinishedTrial) -> list[tuple[bool, float, str]]:
    """Return a key that sorts trials by all but the horizontal dimension, the last one first."""
    others = [d for d in reversed(search.trainer.space) if d is not horizontal_dimension(search)]
    return [_value_key(trial.values.get(d.name)) for d in others]


def _value_key(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float)
    return (not is_number, value if is_number else 0.0, json.dumps(value))
