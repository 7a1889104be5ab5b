"""The result of a verification, as JSON types and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite, isnan
from typing import Any

from tabulate import tabulate

from experiments.harness.reporting.result import json_safe
from experiments.harness.spec import Run, RunSpec, ScriptRun
from experiments.harness.spec.run import Recorded
from experiments.harness.storage import provenance
from experiments.verification.divergence import Divergence
from experiments.verification.tensor_diff import Distance

STATISTICS = ("", "first run", "second run", "NaN in only one", "largest difference")


def header(run: Run) -> str:
    """Return the line that announces a rerun."""
    environment = run.spec.environment
    return (
        f"retraining {run.spec.title}: {run.intervals} intervals, "
        f"{run.seconds:.0f} s when recorded, on {environment['backend']}, "
        f"{environment['device']}, {environment['threads']} threads"
    )


def summary(
    first: Recorded,
    second: Recorded,
    environment_lines: Sequence[str],
    divergence: Divergence | None,
) -> dict[str, Any]:
    """Return the comparison of two runs as JSON types.

    ``environment_lines`` are the differences of their environments; if there are any, the bits are
    not compared, and ``sound`` is None.
    """
    payload: dict[str, Any] = {
        "sound": None if environment_lines else divergence is None,
        "run": _names(first),
        "intervals": min(first.intervals, second.intervals),
        "steps": first.spec.steps,
        "fingerprint": first.fingerprint,
        "commits": [first.commit, second.commit],
        "environments differ": [*environment_lines],
        "code changed": [
            f"{name} run: {line}"
            for name, run in (("first", first), ("second", second))
            if (line := provenance.change(run))
        ],
    }
    if isinstance(first, ScriptRun) and isinstance(second, ScriptRun):
        payload["not exact"] = [
            f"{name} run: not exact after epoch {note['after']}: {note['why']}"
            for name, run in (("first", first), ("second", second))
            for note in run.inexact
        ]
    if environment_lines:
        payload["statistics"] = _statistics(first, second)
    elif divergence:
        payload["finding"] = _finding(divergence, first, second)
    return json_safe(payload)


def _names(run: Recorded) -> dict[str, Any]:
    spec = run.spec
    if isinstance(spec, RunSpec):
        return {"home": spec.arm_id, "scale": spec.scale, "seed": spec.seed}
    return {"script": spec.script, "seed": spec.seed}


def _finding(divergence: Divergence, first: Recorded, second: Recorded) -> dict[str, Any]:
    interval, found = divergence.interval, divergence.distance
    chains = first.chain, second.chain
    return {
        "interval": interval,
        "cause": divergence.cause,
        "step": divergence.step,
        "tensors": [*divergence.tensors],
        "apart": found and _distance(found, divergence.measured_after),
        "links": [chain[interval] if interval < len(chain) else None for chain in chains],
    }


def _distance(distance: Distance, measured_after: str) -> dict[str, Any]:
    fields = asdict(distance)
    fields["lone"] = fields.pop("finite_in_one")
    return {"at": measured_after, "text": str(distance), **fields}


def _statistics(first: Recorded, second: Recorded) -> list[dict[str, Any]]:
    """Return, for each column of both histories, the last values and the largest difference."""
    rows = []
    for name in (name for name in first.history if name in second.history and name != "step"):
        pairs = [*zip(first.history[name], second.history[name], strict=False)]
        differences = [abs(a - b) for a, b in pairs if isfinite(a) and isfinite(b)]
        rows.append(
            {
                "column": name,
                "one": pairs[-1][0],
                "other": pairs[-1][1],
                "NaN in one only": sum(isnan(a) != isnan(b) for a, b in pairs),
                "largest distance": max(differences, default=None),
            }
        )
    return rows


def text(payload: Mapping[str, Any]) -> str:
    """Return a summary as text."""
    lines = [*payload["code changed"], *payload.get("not exact", ())]
    return "\n".join([_comparison_text(payload), *lines])


def _comparison_text(payload: Mapping[str, Any]) -> str:
    if payload["environments differ"]:
        lines = "\n  ".join(payload["environments differ"])
        rows = [[*row.values()] for row in payload["statistics"]]
        table = tabulate(rows, STATISTICS, floatfmt=".6g")
        return (
            f"the environments differ, so the bits may differ:\n  {lines}\n\n"
            f"statistics only, over {payload['intervals']} intervals:\n\n{table}"
        )
    if payload["sound"]:
        return f"identical, {payload['intervals']} intervals\nfingerprint  {payload['fingerprint']}"
    return _divergence_text(payload)


def _divergence_text(payload: Mapping[str, Any]) -> str:
    found, steps, commits = payload["finding"], payload["steps"], payload["commits"]
    interval, distance = found["interval"], found["apart"]
    where = f" (steps {(interval - 1) * steps + 1} to {interval * steps})" if steps else ""
    lines = {
        "interval": f"{interval}{where if interval else ' (before the first step)'}",
        "step": found["step"],
        "tensors": ", ".join([*found["tensors"][:4], *["..."] * (len(found["tensors"]) > 4)]),
        "distance": distance and f"{distance['text']}, after {distance['at']}",
        "likely cause": found["cause"],
        "commits": " and ".join(map(provenance.describe, commits)) if len(set(commits)) > 1 else "",
        "links": _links(*found["links"]),
    }
    rows = "\n".join(f"{name:13}{line}" for name, line in lines.items() if line)
    return f"DIFFERENT\n{rows}"


def _links(first: str | None, second: str | None) -> str:
    """Return the links, shortened if that still distinguishes them; empty if they are equal."""
    if first == second:
        return ""
    digits = 16 if str(first)[:16] != str(second)[:16] else None
    return f"{str(first)[:digits]} and {str(second)[:digits]}"
