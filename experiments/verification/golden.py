"""The committed fingerprints of the self-test's runs, by environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.harness.runtime import filesystem
from experiments.harness.spec import identity

PATH = Path(__file__).parents[1] / "golden.json"


def key(environment: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an environment, in hexadecimal."""
    return identity.json_digest(environment)


def load() -> dict[str, Any]:
    """Return the environments and their runs' fingerprints, by the environment's key."""
    return json.loads(PATH.read_text())


def compare(environment: Mapping[str, Any], run: str, fingerprint: str) -> str:
    """Return ``same``, ``OTHER``, or ``unknown`` if there is no fingerprint to compare with."""
    golden = load().get(key(environment), {}).get("fingerprints", {}).get(run)
    if golden is None:
        return "unknown"
    return "same" if fingerprint == golden else "OTHER"


def update(environment: Mapping[str, Any], run: str, fingerprint: str) -> None:
    """Save a fingerprint, replacing an older one."""
    entries = load()
    entry = entries.setdefault(key(environment), {"environment": environment, "fingerprints": {}})
    entry["fingerprints"][run] = fingerprint
    ordered = sorted(entries.items(), key=lambda item: json.dumps(item[1]["environment"]))
    filesystem.write_atomic(PATH, json.dumps(dict(ordered), indent=1) + "\n")
