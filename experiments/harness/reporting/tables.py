"""Documented beside measured, and the verdicts, as tables of text."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from experiments.harness.spec import Run
from experiments.harness.storage import run_directory


def verdicts(claims: Sequence[Mapping[str, Any]], style: str = "simple") -> str:
    """Return a table with a line for each of a result's claims; ``style`` is one of tabulate's."""
    rows = [
        (
            f"C{number}",
            claim["claim"],
            claim["documented"],
            bounds(claim["bounds"]),
            measured(claim),
            f"{claim['verdict']} ({claim['note']})" if claim["note"] else claim["verdict"],
        )
        for number, claim in enumerate(claims, 1)
    ]
    headers = ("", "claim", "document", "bounds", "measured", "verdict")
    widths = [None, 44, None, None, 20, 24] if style == "simple" else None
    return tabulate(rows, headers, style, maxcolwidths=widths, disable_numparse=True)


def measured(claim: Mapping[str, Any]) -> str:
    """Return a claim's values over its seeds, and what they show instead where it is refuted."""
    values = spread([float(value) for value in claim["values"].values()])
    return f"{values}: {claim['instead']}" if claim["instead"] else values


def bounds(ends: Sequence[Any]) -> str:
    """Return an interval as text."""
    return "{:g} to {:g}".format(*map(float, ends))


def overview(results: Sequence[Mapping[str, Any]], style: str = "simple", link: str = "") -> str:
    """Return a line for each result: how its claims came out, and which were refuted.

    With ``link``, names lead to their headings in that Markdown page.
    """
    rows = []
    for told in results:
        name, outcomes = told["experiment"], [claim["verdict"] for claim in told["claims"]]
        refuted = [f"C{n}" for n, outcome in enumerate(outcomes, 1) if outcome == "REFUTED"]
        rows.append(
            (
                f"[{name}]({link}#{name}-{told['scale']})" if link else name,
                told["scale"] + ", STAND-IN DATA" * any(d["stand_in"] for d in told["datasets"]),
                len(told["seeds"]),
                outcomes.count("REPRODUCED"),
                f"{len(refuted)}: {', '.join(refuted)}" if refuted else 0,
                outcomes.count("INCONCLUSIVE"),
            )
        )
    headers = ("experiment", "scale", "seeds", "REPRODUCED", "REFUTED", "INCONCLUSIVE")
    return tabulate(rows, headers, style)


def spread(values: Sequence[float]) -> str:
    """Return one value as it is, several as mean ± standard deviation; what is not finite apart."""
    finite = list(filter(math.isfinite, values))
    told = [f"{value:.4g}" for value in finite]
    if len(finite) > 1:
        told = [f"{statistics.mean(finite):.4g} ± {statistics.stdev(finite):.2g} (n={len(finite)})"]
    for name, count in Counter(f"{v}" for v in values if not math.isfinite(v)).items():
        told.append(f"{name} (n={count})" if len(values) > 1 else name)
    return ", ".join(told) or "-"


def reported(told: Mapping[str, Any], style: str = "simple") -> str:
    """Return the documented values beside the measured ones, at the same intervals.

    Several seeds are told as mean and spread. An interval that no run reached is left out.
    """
    rows: dict[tuple[str, int], dict[str, str]] = {}
    for point in told["printed"]:
        measured = [float(value) for value in point["measured"]]
        if measured:
            row = rows.setdefault((point["arm"], point["interval"]), {})
            row[f"{point['column']}: document"] = f"{float(point['documented']):.5g}"
            row[f"{point['column']}: measured"] = spread(measured)
    headers = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = [(*key, *(row.get(name, "") for name in headers)) for key, row in rows.items()]
    return tabulate(table, ("arm", "interval", *headers), style, disable_numparse=True)


def self_test(rows: Sequence[Mapping[str, Any]], style: str = "simple") -> str:
    """Return a line for each backend, device and short run: what came of it, and what bits cost."""
    lines = [
        (
            _version(row["environment"]),
            row["environment"]["device"],
            row["run"],
            row["repeated"],
            len(row["fingerprints"]),
            row["verdict"],
            row["repository"],
            f"{row['milliseconds']:.1f}",
            f"{row['without']:.1f}",
            f"{row['milliseconds'] / row['without']:.2f}",
        )
        for row in rows
    ]
    names = ("backend", "device", "run", "trainings", "fingerprints", "verdict", "repository")
    times = ("ms a step", "without", "ratio")
    return tabulate(lines, (*names, *times), style, disable_numparse=True)


def campaigns(told: Sequence[Mapping[str, Any]], style: str = "simple") -> str:
    """Return how often each fault struck on each backend, and what it did."""
    counts = [{row["fault"]: row["count"] for row in each["table"]} for each in told]
    faults = dict.fromkeys(fault for each in counts for fault in each)
    harms = ("intervals lost", "wrong fingerprints", "unclear endings")
    lines = [(fault, *(each.get(fault, 0) for each in counts)) for fault in faults]
    lines += [(harm, *(sum(row[harm] for row in each["table"]) for each in told)) for harm in harms]
    return tabulate(lines, ("", *(_version(each["environment"]) for each in told)), style)


def _version(environment: Mapping[str, Any]) -> str:
    backend = environment["backend"]
    return f"{backend} {environment['versions'][backend]}"


def runs(made: Sequence[Run], logdir: Path, style: str = "simple") -> str:
    """Return a line for each run: how far it got, where it is, its fingerprint."""
    rows = [
        (
            f"{run.status}, {run.intervals} of {run.spec.arm.intervals} intervals",
            f"{run.seconds:.0f} s",
            run_directory.directory_of(run.spec, logdir),
            (run.fingerprint or "-")[:16],
        )
        for run in made
    ]
    return tabulate(rows, ("status", "trained", "directory", "fingerprint"), style)
