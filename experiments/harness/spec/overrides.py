"""Resolve an experiment's arms: apply variants, miniatures and overrides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from experiments.harness.spec.arm import Arm, Scale, config
from experiments.harness.spec.errors import UserError, nearest
from experiments.harness.spec.experiment import Experiment

FIXED = ("dataset", "result_file", "role", "about")
SETTABLE = [field.name for field in fields(Arm) if field.name not in FIXED]
MINIMUM = dict.fromkeys(("batch_size", "steps", "intervals", "test_examples", "test_batch"), 1)
MINIMUM |= dict.fromkeys(("held_out", "train_examples"), 0)
RATE = "optimizer.learning_rate"
CONFIGS = ("network", "loss", "optimizer")
CONFIG = set(config(""))  # the keys of a config


def resolve_experiment(experiment: Experiment, load: Callable[[str], Experiment]) -> Experiment:
    """Return the experiment with ``at`` and ``arm_ids`` filled in; ``load`` returns others."""
    arm_ids: dict[str, str] = {}
    at: dict[Scale, dict[str, Arm]] = {"full": {}, "mini": {}, "protocol": {}}
    for name, entry in experiment.arms.items():
        arm_ids[name] = f"{experiment.name}:{name}"
        if isinstance(entry, Arm):
            at["full"][name], at["mini"][name] = entry, override(entry, experiment.mini)
            if experiment.protocol:
                at["protocol"][name] = override(entry, experiment.protocol)
            continue
        owner, _, base = entry.of.rpartition(":")
        other = load(owner) if owner else replace(experiment, at=at, arm_ids=arm_ids)
        for scale, arms in at.items():
            if scale == "protocol" and base not in other.at.get(scale, {}):
                continue
            changes = {**entry.changes, **(entry.mini if scale == "mini" else {})}
            arm = override(_base(other, scale, base, name), changes)
            arms[name] = replace(arm, role=entry.role, about=entry.about)
        if not (entry.changes or entry.mini):
            arm_ids[name] = other.arm_ids[base]
    at_mini = experiment.mini_names or arm_ids
    at["mini"] = {name: arm for name, arm in at["mini"].items() if name in at_mini}
    if not at["protocol"]:
        del at["protocol"]
    return replace(experiment, at=at, arm_ids=arm_ids)


def _base(other: Experiment, scale: Scale, base: str, name: str) -> Arm:
    """Return the arm that the variant ``name`` changes."""
    if base not in other.at[scale]:
        suffix = f" at {scale}" if base in other.at["full"] else ""
        raise UserError(
            f"arm {name!r} is a variant of {base!r}, and {other.name or 'the experiment'} has no "
            f"such arm{suffix}{nearest(base, other.at[scale])}"
        )
    return other.at[scale][base]


def resolve(
    experiment: Experiment, name: str, scale: Scale, changes: Mapping[str, Any] | None = None
) -> Arm:
    """Return the experiment's arm called ``name`` at ``scale``, with ``changes`` applied.

    Raises ``UserError`` if there is no such arm or scale, or ``override`` rejects a change.
    """
    arms = arms_at(experiment, scale)
    if name not in arms:
        suffix = f" at {scale}" if name in experiment.arms else ""
        raise UserError(f"{experiment.name} has no arm {name!r}{suffix}{nearest(name, arms)}")
    return override(arms[name], changes or {})


def arms_at(experiment: Experiment, scale: Scale) -> Mapping[str, Arm]:
    """Return the experiment's arms at ``scale``; ``UserError`` if it has no such scale."""
    if scale not in [*experiment.at]:
        raise UserError(
            f"{experiment.name} has no scale {scale!r}; available: {', '.join(experiment.at)}"
        )
    return experiment.at[scale]


def flatten(arm: Arm) -> dict[str, bool | float | str]:
    """Return an arm's settings as plain values, by the paths that ``override`` takes.

    Lists become JSON; settings that are None are left out.
    """

    def walk(path: str, value: Any) -> Iterator[tuple[str, bool | float | str]]:
        if _is_config(value):
            yield path, value["class_name"]
            for name, option in value["config"].items():
                yield from walk(f"{path}.{name}", option)
        elif value is not None:
            yield path, value if isinstance(value, bool | int | float | str) else json.dumps(value)

    return dict(item for name, value in arm.identity().items() for item in walk(name, value))


def override(arm: Arm, changes: Mapping[str, Any]) -> Arm:
    """Return ``arm`` with changes such as ``{"optimizer.learning_rate": 0.001}`` applied.

    A path starts with a field of the arm; further parts name options in its config. Raises
    ``UserError`` for an unknown field or option, a value of another type than the current one, and
    a number below its minimum.
    """
    for path, value in changes.items():
        name, *keys = path.split(".")
        if name not in SETTABLE:
            raise UserError(f"an arm has no field {name!r}{nearest(name, SETTABLE)}")
        new = _replaced(getattr(arm, name), keys, value, path)
        if name in CONFIGS and isinstance(new, str):
            new = config(new)
        field: dict[str, Any] = {name: new}
        arm = replace(arm, **field)
    for name, minimum in MINIMUM.items():
        if getattr(arm, name) < minimum:
            raise UserError(f"{name} must be {minimum} or more, not {getattr(arm, name)}")
    check_schedules(arm)
    return arm


def check_schedules(arm: Arm) -> None:
    """Raise ``UserError`` if an arm has a schedule of its own beside a Keras schedule."""
    if arm.schedule and arm.has_keras_schedule:
        raise UserError(
            "optimizer.learning_rate is a Keras schedule, so the arm's own schedule must be empty: "
            "--set schedule=[]"
        )


def _replaced(old: Any, keys: list[str], value: Any, path: str) -> Any:
    """Return a copy of ``old`` with ``value`` at ``keys``; ``path`` is for error messages."""
    if not keys:
        return _coerced(old, value, path)
    if isinstance(old, str) and old:
        old = config(old)  # an identifier is short for a config without options
    if not isinstance(old, Mapping) or "config" not in old:
        raise UserError(f"no such setting {path!r}: {json.dumps(old)} has no options")
    options, (key, *further) = old["config"], keys
    if further and key not in options:
        raise UserError(f"no such setting {path!r}{nearest(key, options)}")
    new = _replaced(options[key], further, value, path) if key in options else value
    return {**old, "config": {**options, key: new}}


def _coerced(old: Any, value: Any, path: str) -> Any:
    """Return ``value`` as the type of ``old``; ``UserError`` if it is of another type."""
    if path == RATE and _is_rate(old) and _is_rate(value) and _is_config(old) != _is_config(value):
        return value
    if not _fits(old, value, path):
        raise UserError(
            f"cannot set {path} to {json.dumps(value)}: its value, {json.dumps(old)}, is of "
            "another type"
        )
    if isinstance(old, int | float):
        return type(old)(value)
    if isinstance(old, list | tuple):
        return tuple(tuple(item) if path == "schedule" else item for item in value)
    return value


def _fits(old: Any, value: Any, path: str) -> bool:
    """Return whether ``value`` may replace ``old``, an identifier and a config being one type."""
    if isinstance(old, bool) or isinstance(value, bool):
        return isinstance(old, bool) and isinstance(value, bool)
    if isinstance(old, int):
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(old, float):
        return isinstance(value, int | float)
    if isinstance(old, list | tuple):
        return isinstance(value, list | tuple) and all(map(_item_check(path), value))
    if isinstance(old, Mapping):
        return isinstance(value, str) or _is_config(value)
    if isinstance(old, str) and _is_config(value):
        return True
    return old is None or value is None or isinstance(value, type(old))


def _item_check(path: str) -> Callable[[Any], bool]:
    """Return the check for the items of the list at ``path``."""
    names = dict.fromkeys(("metrics", "probes", "frozen"), _is_name)
    return {"schedule": _is_pair, **names}.get(path, _is_number)


def _is_config(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == CONFIG


def _is_rate(value: Any) -> bool:
    return _is_config(value) or (_is_number(value) and not isinstance(value, bool))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))
