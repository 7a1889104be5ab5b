"""The result of an audit, as JSON types and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from experiments.auditing import auditor
from experiments.auditing.auditor import Audit, Finding
from experiments.auditing.record import Record
from experiments.auditing.switches import SWITCHES

UNKNOWN = "unknown: no switch that was tried makes it repeat"
COLUMN = 13  # as verify's
COUNTED = ("batches", "step")  # events that stand for steps


def summary(audit: Audit) -> dict[str, Any]:
    """Return an audit as JSON types."""
    first = audit.records[0]
    payload: dict[str, Any] = {
        "sound": audit.finding is None,
        "script": str(audit.script.path),
        "arguments": audit.script.arguments,
        "runs": len(audit.records),
        "trainings": [_training(first, event) for event in first.beginnings],
        "epochs": first.epochs(),
        "steps": first.steps(),
        "fingerprint": auditor.fingerprint(first),
        "environment": first.end["environment"],
        "notes": [*_notes(audit.records), *_threads(audit)],
        "seconds": [record.end["seconds"] for record in audit.records],
        "recording": [record.end["recording"] for record in audit.records],
    }
    if audit.finding:
        payload["finding"] = _finding(audit, audit.finding)
    return payload


def _training(record: Record, begin: Mapping[str, Any]) -> dict[str, Any]:
    events = record.of_training(begin["training"])
    counts = {
        "epochs": sum(event["type"] == "batches" for event in events),
        "steps": sum(event.get("count", 1) for event in events if event["type"] in COUNTED),
    }
    return {**{name: begin[name] for name in ("training", "kind", "model", "line")}, **counts}


def _notes(records: Sequence[Record]) -> list[str]:
    notes = dict.fromkeys(note for record in records for note in record.end["notes"])
    generators = [
        [event["random"] for event in record.events if event["type"] == "state"][-1:]
        for record in records
    ]
    if all(generators):
        states = [each[0] for each in generators]
        names = [n for n in states[0] if any(s.get(n) != states[0][n] for s in states)]
        if names:
            notes[f"not compared: the global generators of {', '.join(names)}, which differ"] = None
    return [*notes]


def _threads(audit: Audit) -> list[str]:
    """Return a line about threads whose races equal runs cannot rule out."""
    threads = audit.records[0].end["threads"]
    if audit.finding or not threads:
        return []
    return [f"threads are started ({', '.join(threads)}): if they race, more --repeats show it"]


def _finding(audit: Audit, finding: Finding) -> dict[str, Any]:
    found, measured = finding.location.difference, finding.location.distance
    begins = {event["training"]: event for event in audit.records[0].beginnings}
    begin = begins.get(found.training)
    cause, change = explain(audit, finding)
    return {
        "runs": [*finding.runs],
        "kind": found.kind,
        "what": found.what,
        "training": begin and _training(audit.records[0], begin),
        "epoch": found.epoch,
        "step": found.step,
        "tensors": [*found.tensors],
        "apart": measured and {"text": str(measured), **asdict(measured)},
        "each time": finding.location.again,
        "cause": cause,
        "switches": [*finding.cause.switches],
        "tried": [*finding.cause.tried],
        "calls": [*finding.cause.calls],
        "change": change,
        "evidence": [*finding.evidence],
        "fix": None if finding.fix is None else [*finding.fix],
        "fix code": [line for name in finding.fix or () for line in _code(audit, name, ())],
    }


def explain(audit: Audit, finding: Finding) -> tuple[str, list[str]]:
    """Return the likely cause of a difference, and the lines to change; empty if not looked for."""
    switches = finding.cause.switches
    if switches:
        cause = " and ".join(SWITCHES[name].cause for name in switches)
        code = [line for name in switches for line in _code(audit, name, finding.cause.calls)]
        return cause, code
    if finding.evidence:
        return "; ".join(finding.evidence[:4]), []
    return (UNKNOWN if finding.cause.tried else ""), []


def _code(audit: Audit, switch: str, calls: Sequence[str]) -> list[str]:
    lines = [SWITCHES[switch].line(audit.script.backend)]
    if switch == "hash_seed" and (sets := auditor.set_lines(audit.script.path)):
        name = audit.script.path.name
        lines.append("sets are made at " + ", ".join(f"{name}:{number}" for number in sets))
    return [*lines, *(f"at {call}" for call in calls)]


def text(payload: Mapping[str, Any]) -> str:
    """Return a summary as text."""
    lines = [_identical(payload) if payload["sound"] else _different(payload)]
    return "\n".join([*lines, *payload["notes"]])


def _identical(payload: Mapping[str, Any]) -> str:
    counts = [("epochs", payload["epochs"])]
    loops = [t for t in payload["trainings"] if t["kind"] != "fit"]
    if loops:
        counts.append(("steps of the script's own loops", payload["steps"]))
    shown = " and ".join(f"{count} {name}" for name, count in counts if count)
    return f"identical, {shown or 'as far as recorded'}\nfingerprint  {payload['fingerprint']}"


def _different(payload: Mapping[str, Any]) -> str:
    found, training = payload["finding"], payload["finding"]["training"]
    tensors = found["tensors"]
    rows: list[tuple[str, Any]] = [
        ("differs", found["what"]),
        ("runs", " and ".join(found["runs"])),
        ("training", training and _training_text(training)),
        ("epoch", _place(found["epoch"])),
        ("step", _place(found["step"])),
        ("tensors", ", ".join([*tensors[:4], *["..."] * (len(tensors) > 4)])),
        ("distance", found["apart"] and found["apart"]["text"]),
        ("each time", None if found["each time"] else "no: two further runs were equal there"),
        ("likely cause", found["cause"]),
        *((("change" if not n else ""), line) for n, line in enumerate(found["change"])),
        *(("also differs", line) for line in found["evidence"] if line not in found["cause"]),
        *_fix_rows(found),
    ]
    return "\n".join(
        ["DIFFERENT", *(f"{name:{COLUMN}}{line}" for name, line in rows if line not in (None, ""))]
    )


def _fix_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    if found["fix"] is None:
        return []
    if not found["fix"]:
        return [("fix", "none: no set of switches that was tried makes it repeat to its end")]
    return [("fix", f"it repeats to its end with {', '.join(found['fix'])}:")] + [
        ("", f"  {line}") for line in found["fix code"]
    ]


def _training_text(training: Mapping[str, Any]) -> str:
    kind, model, line = (training[name] for name in ("kind", "model", "line"))
    return f"{training['training']}: {kind} of {model} at {line}"


def _place(number: int | None) -> str | None:
    if number is None:
        return None
    return str(number) if number else "0 (before the first step)"
