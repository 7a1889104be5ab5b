"""What decides a run's bits, and how two identities differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from experiments.harness.spec.run import Run


def identity_of(run: Run) -> dict[str, Any]:
    """Return all that decides the bits of a run: equal identities, equal fingerprints."""
    return {
        "arm": run.arm.identity(),
        "seed": run.seed,
        "dataset": run.dataset["sha256"],
        "environment": dict(run.environment),
    }


def run_id(run: Run) -> str:
    """Return the SHA-256 of the identity, in hexadecimal."""
    return json_digest(identity_of(run))


def differences(was: Any, now: Any, path: str = "") -> list[tuple[str, str, str]]:
    """Return the path of each value that differs between two nested mappings, and both as JSON."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        keys = list(was) + [key for key in now if key not in was]
        return [
            difference
            for key in keys
            for difference in differences(was.get(key), now.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if was == now else [(path, json.dumps(was), json.dumps(now))]


def json_digest(value: Any) -> str:
    """Return the SHA-256 of JSON types, whatever the order of their keys, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
