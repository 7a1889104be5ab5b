"""From an experiment's arm to the arm that is trained: the miniature's changes, then the user's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from experiments.harness.spec import Arm, Experiment, Scale, UserError, config, nearest

SETTABLE = [field.name for field in fields(Arm) if field.name not in ("dataset", "role", "about")]
COUNTS = ("batch_size", "steps", "intervals", "test_examples", "test_batch")
CONFIGS = ("network", "loss", "optimizer")


def resolve(
    experiment: Experiment, name: str, scale: Scale, changes: Mapping[str, Any] | None = None
) -> Arm:
    """Return the experiment's arm called ``name`` as it is trained at ``scale`` with ``changes``.

    Raises ``UserError`` where there is no such arm, and what ``override`` raises.
    """
    if name not in experiment.arms:
        raise UserError(f"{experiment.name} has no arm {name!r}{nearest(name, experiment.arms)}")
    mini = experiment.mini if scale == "mini" else {}
    return override(override(experiment.arms[name], mini), changes or {})


def override(arm: Arm, changes: Mapping[str, Any]) -> Arm:
    """Return ``arm`` with ``{"optimizer.learning_rate": 0.001, ...}`` changed.

    A path's first part is a field of the arm, the rest leads into its config. Raises ``UserError``
    for an unknown field, and for a value of another type than the one it replaces.
    """
    for path, value in changes.items():
        name, *rest = path.split(".")
        if name not in SETTABLE:
            raise UserError(f"no field of an arm is called {name!r}{nearest(name, SETTABLE)}")
        changed = _changed(getattr(arm, name), rest, value, path)
        if name in CONFIGS and isinstance(changed, str):
            changed = config(changed)
        fresh: dict[str, Any] = {name: changed}
        arm = replace(arm, **fresh)
    for name in COUNTS:
        if getattr(arm, name) < 1:
            raise UserError(f"{name} must be above 0, not {getattr(arm, name)}")
    return arm


def _changed(old: Any, rest: list[str], value: Any, path: str) -> Any:
    """Return ``old`` with the value at ``rest`` replaced, configs copied on the way."""
    if not rest:
        return _checked(old, value, path)
    if not isinstance(old, Mapping) or "config" not in old:
        raise UserError(f"{path!r} leads nowhere: {json.dumps(old)} has no parts to set")
    inner, (key, *further) = old["config"], rest
    if further and key not in inner:
        raise UserError(f"{path!r} leads nowhere{nearest(key, inner)}")
    new = _changed(inner[key], further, value, path) if key in inner else value
    return {**old, "config": {**inner, key: new}}


def _checked(old: Any, value: Any, path: str) -> Any:
    """Return ``value`` as the type of ``old``; a config may also become a plain identifier."""
    if isinstance(old, bool) or isinstance(value, bool):
        fits = isinstance(old, bool) and isinstance(value, bool)
    elif isinstance(old, int | float):
        fits = isinstance(value, (int, type(old))) or _is_whole(value)
        value = type(old)(value) if fits else value
    elif isinstance(old, Mapping):
        fits = isinstance(value, str) or (isinstance(value, Mapping) and set(value) == set(old))
    elif isinstance(old, tuple):
        fits = isinstance(value, list | tuple) and all(_is_pair(v) for v in value)
        value = tuple(map(tuple, value)) if fits else value
    else:
        fits = old is None or value is None or isinstance(value, type(old))
    if not fits:
        raise UserError(f"{path} is {json.dumps(old)}; {json.dumps(value)} is of another type")
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _is_pair(value: Any) -> bool:
    numbers = isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value)
    return numbers and len(value) == 2
