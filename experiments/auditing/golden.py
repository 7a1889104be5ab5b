"""Saved records of trainings, by environment and name: what ``same_bits.golden`` compares with."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from experiments.auditing import causes, comparison
from experiments.auditing.auditor import Finding
from experiments.auditing.locating import Location
from experiments.auditing.record import Record
from experiments.harness.runtime import filesystem
from experiments.harness.spec import UserError, identity

RUNS = ("the golden", "this run")


def update(path: Path, name: str, record: Record) -> None:
    """Save a record as the golden ``name`` of its environment, replacing an older one."""
    with FileLock(_lock(path)):
        entries = _read(path)
        environment = record.end["environment"]
        entry = entries.setdefault(_key(record), {"environment": environment, "runs": {}})
        entry["runs"][name] = _stripped(record)
        ordered = sorted(entries.items(), key=lambda item: json.dumps(item[1]["environment"]))
        filesystem.write_atomic(path, _to_text(dict(ordered)))


def load(path: Path, name: str, record: Record) -> Record | None:
    """Return the golden ``name`` of a record's environment, None if there is none."""
    entry = _read(path).get(_key(record), {})
    if (run := entry.get("runs", {}).get(name)) is None:
        return None
    end = {"environment": entry["environment"], "code": run["code"]}
    return Record(record.folder, run["events"], (), end, {})


def others(path: Path, name: str, record: Record) -> str:
    """Return how the environments that have the golden ``name`` differ, empty if none has it."""
    here = record.end["environment"]
    found = [
        identity.differences(entry["environment"], here)
        for entry in _read(path).values()
        if name in entry["runs"]
    ]
    nearest = min(found, key=len, default=[])
    return "; ".join(f"{field} ({there} there, {now} here)" for field, there, now in nearest[:3])


def compare(golden: Record, record: Record) -> Finding | None:
    """Return where a run differs from the golden, and what else does; None if nowhere."""
    run = _stripped(record)
    here = replace(record, events=run["events"], end={**record.end, "code": run["code"]})
    if (found := comparison.compare(golden, here)) is None:
        return None
    return Finding(Location(found), RUNS, evidence=causes.changed_code(golden, here))


def _stripped(record: Record) -> dict[str, Any]:
    """Return what is saved of a record: neither lines, which move, nor states not compared."""
    events = [{**event, "line": ""} if "line" in event else event for event in record.essences]
    code = {Path(name).name: digest for name, digest in record.end.get("code", {}).items()}
    return {"code": code, "events": json.loads(json.dumps(events))}


def _to_text(entries: Mapping[str, Any]) -> str:
    """Return the file's text, with an event in a line, so that version control shows which."""
    lines = []
    for key, entry in entries.items():
        runs = []
        for name, run in sorted(entry["runs"].items()):
            events = ",\n".join(f"    {json.dumps(event)}" for event in run["events"])
            code = json.dumps(run["code"])
            runs.append(f'   {json.dumps(name)}: {{"code": {code}, "events": [\n{events}]}}')
        environment = json.dumps(entry["environment"])
        body = ",\n".join(runs)
        lines.append(
            f' {json.dumps(key)}: {{\n  "environment": {environment},\n  "runs": {{\n{body}}}}}'
        )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}; restore it, or delete it") from None


def _key(record: Record) -> str:
    return identity.json_digest(record.end["environment"])


def _lock(path: Path) -> str:
    name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]
    return str(Path(tempfile.gettempdir()) / f"same-bits-{name}.lock")
