"""From arms as they are told to arms as they are trained: variants, miniatures, changes."""

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
CONFIGS = ("network", "loss", "optimizer")
CONFIG = set(config(""))
NAMES = ("metrics", "probes", "frozen")


def resolve_experiment(experiment: Experiment, load: Callable[[str], Experiment]) -> Experiment:
    """Return the experiment with ``at`` and ``arm_ids`` filled in; ``load`` finds others by name."""
    arm_ids: dict[str, str] = {}
    at: dict[Scale, dict[str, Arm]] = {"full": {}, "mini": {}}
    for name, told in experiment.arms.items():
        arm_ids[name] = f"{experiment.name}:{name}"
        if isinstance(told, Arm):
            at["full"][name], at["mini"][name] = told, override(told, experiment.mini)
            continue
        elsewhere, _, arm = told.of.rpartition(":")
        other = load(elsewhere) if elsewhere else replace(experiment, at=at, arm_ids=arm_ids)
        for scale, arms in at.items():
            changes = {**told.changes, **(told.mini if scale == "mini" else {})}
            varied = override(other.at[scale][arm], changes)
            arms[name] = replace(varied, role=told.role, about=told.about)
        if not (told.changes or told.mini):
            arm_ids[name] = other.arm_ids[arm]
    kept = experiment.mini_names or arm_ids
    at["mini"] = {name: arm for name, arm in at["mini"].items() if name in kept}
    return replace(experiment, at=at, arm_ids=arm_ids)


def resolve(
    experiment: Experiment, name: str, scale: Scale, changes: Mapping[str, Any] | None = None
) -> Arm:
    """Return the experiment's arm called ``name`` as it is trained at ``scale`` with ``changes``.

    Raises ``UserError`` where there is no such arm, and what ``override`` raises.
    """
    arms = experiment.at[scale]
    if name not in arms:
        also = f" at {scale}" if name in experiment.arms else ""
        raise UserError(f"{experiment.name} has no arm {name!r}{also}{nearest(name, arms)}")
    return override(arms[name], changes or {})


def flatten(arm: Arm) -> dict[str, bool | float | str]:
    """Return an arm's fields as plain values, by the paths that ``override`` takes."""

    def walk(path: str, value: Any) -> Iterator[tuple[str, bool | float | str]]:
        if isinstance(value, Mapping) and set(value) == CONFIG:
            yield path, value["class_name"]
            for name, inner in value["config"].items():
                yield from walk(f"{path}.{name}", inner)
        elif value is not None:
            yield path, value if isinstance(value, bool | int | float | str) else json.dumps(value)

    return {key: told for name, value in arm.identity().items() for key, told in walk(name, value)}


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
    for name, least in MINIMUM.items():
        if getattr(arm, name) < least:
            raise UserError(f"{name} must be {least} or more, not {getattr(arm, name)}")
    return arm


def _changed(old: Any, rest: list[str], value: Any, path: str) -> Any:
    """Return ``old`` with the value at ``rest`` replaced, configs copied on the way."""
    if not rest:
        return _checked(old, value, path)
    if isinstance(old, str) and old:
        old = config(old)  # an identifier stands for the config without options
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
    elif isinstance(old, Mapping) or (isinstance(old, str) and isinstance(value, Mapping)):
        fits = isinstance(value, str) or (isinstance(value, Mapping) and set(value) == CONFIG)
    elif isinstance(old, list | tuple):
        part = {"schedule": _is_pair, **dict.fromkeys(NAMES, _is_name)}.get(path, _is_number)
        fits = isinstance(value, list | tuple) and all(map(part, value))
        value = tuple(tuple(v) if part is _is_pair else v for v in value) if fits else value
    else:
        fits = old is None or value is None or isinstance(value, type(old))
    if not fits:
        raise UserError(f"{path} is {json.dumps(old)}; {json.dumps(value)} is of another type")
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))
