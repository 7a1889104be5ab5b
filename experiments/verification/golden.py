"""The fingerprints that the repository keeps of short runs, by environment."""

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
    """Return what is kept: environments and their runs' fingerprints, by the environment's key."""
    return json.loads(PATH.read_text())


def compare(environment: Mapping[str, Any], run: str, found: str) -> str:
    """Return ``same``, ``OTHER``, or ``unknown`` where none is kept for this environment."""
    wanted = load().get(key(environment), {}).get("fingerprints", {}).get(run)
    if wanted is None:
        return "unknown"
    return "same" if found == wanted else "OTHER"


def update(environment: Mapping[str, Any], run: str, found: str) -> None:
    """Keep a fingerprint, in the place of an older one where there is one."""
    kept = load()
    entry = kept.setdefault(key(environment), {"environment": environment, "fingerprints": {}})
    entry["fingerprints"][run] = found
    ordered = sorted(kept.items(), key=lambda item: json.dumps(item[1]["environment"]))
    filesystem.write_atomic(PATH, json.dumps(dict(ordered), indent=1) + "\n")
