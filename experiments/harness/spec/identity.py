"""What decides a run's bits, and how two identities differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from experiments.harness.spec.run import RunSpec


def identity_of(spec: RunSpec) -> dict[str, Any]:
    """Return all that decides the bits of a run: equal identities, equal fingerprints."""
    return {
        "arm": spec.arm.identity(),
        "seed": spec.seed,
        "dataset": spec.dataset["sha256"],
        "environment": dict(spec.environment),
    }


def run_id(spec: RunSpec) -> str:
    """Return the SHA-256 of the identity, in hexadecimal."""
    return json_digest(identity_of(spec))


def differences(was: Any, now: Any, path: str = "") -> list[tuple[str, str, str]]:
    """Return path, old and new value (as JSON) of each difference between two nested mappings."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        keys = list(was) + [key for key in now if key not in was]
        return [
            difference
            for key in keys
            for difference in differences(was.get(key), now.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if was == now else [(path, json.dumps(was), json.dumps(now))]


def json_digest(value: Any) -> str:
    """Return the SHA-256 of JSON types in hexadecimal; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
