"""What a verification found, as JSON types and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from tabulate import tabulate

from experiments.harness.reporting.result import json_safe
from experiments.harness.spec import Run
from experiments.verification.divergence import Divergence


def header(run: Run) -> str:
    """Return what is about to be done."""
    environment = run.spec.environment
    return (
        f"making {run.spec.arm_id}, {run.spec.scale}, seed {run.spec.seed} again: {run.intervals} intervals, "
        f"{run.seconds:.0f} s of training when it was recorded, on {environment['backend']}, "
        f"{environment['device']}, {environment['threads']} threads"
    )


def summary(
    one: Run, other: Run, foreign: Sequence[str], found: Divergence | None
) -> dict[str, Any]:
    """Return as JSON types how two runs compare.

    ``foreign`` says how their environments differ; where they do, bits are not compared, and
    ``sound`` is None.
    """
    told: dict[str, Any] = {
        "sound": None if foreign else found is None,
        "run": {"home": one.spec.arm_id, "scale": one.spec.scale, "seed": one.spec.seed},
        "intervals": min(one.intervals, other.intervals),
        "steps": one.spec.arm.steps,
        "fingerprint": one.fingerprint,
        "commits": [one.commit, other.commit],
        "environments differ": [*foreign],
    }
    if foreign:
        return json_safe(told | {"statistics": _statistics(one, other)})
    if found is None:
        return told
    place = found.interval
    links = {
        "links": [run.chain[place] if place < len(run.chain) else None for run in (one, other)]
    }
    apart = found.apart and {"at": found.at, "text": str(found.apart), **asdict(found.apart)}
    finding = asdict(found) | {"tensors": [*found.tensors], "apart": apart}
    del finding["at"]
    return json_safe(told | {"finding": finding | links})


def _statistics(one: Run, other: Run) -> list[dict[str, Any]]:
    """Return for each column that both have: both last values, and the largest distance."""
    rows = []
    for name in (name for name in one.history if name in other.history and name != "step"):
        pairs = [*zip(one.history[name], other.history[name], strict=False)]
        distances = [abs(a - b) for a, b in pairs if isfinite(a) and isfinite(b)]
        lone = sum((a == a) != (b == b) for a, b in pairs)
        row = {"one": pairs[-1][0], "other": pairs[-1][1], "NaN in one only": lone}
        rows.append({"column": name, **row, "largest distance": max(distances, default=None)})
    return rows


def text(told: Mapping[str, Any]) -> str:
    """Return a summary as text."""
    if told["environments differ"]:
        differing = "\n".join(f"  {line}" for line in told["environments differ"])
        rows = [[*row.values()] for row in told["statistics"]]
        table = tabulate(rows, _HEADERS, floatfmt=".6g")
        return (
            f"the environments differ, so bits need not be the same:\n{differing}\n\n"
            f"statistics only, over {told['intervals']} intervals:\n\n{table}"
        )
    if told["sound"]:
        return f"identical, {told['intervals']} intervals\nfingerprint  {told['fingerprint']}"
    found = told["finding"]
    first, last = (found["interval"] - 1) * told["steps"] + 1, found["interval"] * told["steps"]
    where = f"{found['interval']} (steps {first} to {last})"
    lines = {
        "interval": where if found["interval"] else "0 (before the first step)",
        "step": found["step"],
        "tensors": ", ".join([*found["tensors"][:4], *["..."] * (len(found["tensors"]) > 4)]),
        "apart": found["apart"] and f"{found['apart']['text']}, after {found['apart']['at']}",
        "likely cause": found["cause"],
        "code": " and ".join(map(str, told["commits"])) * (len(set(told["commits"])) > 1),
        "links": _links(*found["links"]),
    }
    shown = "\n".join(f"{name:13}{line}" for name, line in lines.items() if line)
    return f"DIFFERENT\n{shown}"


def _links(one: str | None, other: str | None) -> str:
    """Return two links, as much of them as tells them apart; none where they are the same."""
    if one == other:
        return ""
    digits = 16 if str(one)[:16] != str(other)[:16] else None
    return f"{str(one)[:digits]} and {str(other)[:digits]}"


_HEADERS = ("", "in the one", "in the other", "NaN in one only", "largest distance")
