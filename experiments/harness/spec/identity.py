"""The identity of a run: everything that decides its bits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from experiments.harness.spec.run import RunSpec, ScriptSpec

LATER_FIELDS = ("caches",)  # of an environment, that older records lack


def identity_of(spec: RunSpec | ScriptSpec) -> dict[str, Any]:
    """Return the identity of a run, as JSON types; equal identities give equal fingerprints."""
    return spec.identity()


def run_id(spec: RunSpec) -> str:
    """Return the SHA-256 of the identity, in hexadecimal."""
    return json_digest(identity_of(spec))


def known_to(recorded: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``environment`` without the fields that ``recorded`` is too old to have."""
    return {
        name: value
        for name, value in environment.items()
        if name in recorded or name not in LATER_FIELDS
    }


def differences(old: Any, new: Any, path: str = "") -> list[tuple[str, str, str]]:
    """Return each difference of two nested mappings: its path, and both values as JSON."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = list(old) + [key for key in new if key not in old]
        return [
            difference
            for key in keys
            for difference in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [(path, json.dumps(old), json.dumps(new))]


def json_digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, in hexadecimal; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def numbered(names: Iterable[str]) -> list[str]:
    """Return the names, made distinct: a repeated ``name`` becomes ``name#2``, ``name#3``."""
    found: dict[str, None] = {}
    for name in names:
        distinct, number = name, 1
        while distinct in found:
            number += 1
            distinct = f"{name}#{number}"
        found[distinct] = None
    return list(found)
