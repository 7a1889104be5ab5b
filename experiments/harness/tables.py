"""Documented beside measured, and the verdicts, as tables of text. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from experiments.harness import record
from experiments.harness.spec import Experiment, Run, Scale, Verdict


def verdicts(judged: Sequence[Verdict], scale: Scale, style: str = "simple") -> str:
    """Return a table with a line for each claim; ``style`` is one of tabulate's."""
    rows = [
        (
            f"C{number}",
            verdict.claim.text,
            verdict.claim.documented,
            "{:g} to {:g}".format(*verdict.claim.bounds_at(scale)),
            spread(list(verdict.values.values())),
            f"{verdict.outcome} ({verdict.note})" if verdict.note else verdict.outcome,
        )
        for number, verdict in enumerate(judged, 1)
    ]
    headers = ("", "claim", "document", "bounds", "measured", "verdict")
    widths = [None, 44, 14, None, None, 20] if style == "simple" else None
    return tabulate(rows, headers, style, maxcolwidths=widths, disable_numparse=True)


def spread(values: Sequence[float]) -> str:
    """Return one value as it is, several as ``mean ± standard deviation (n=…)``."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return ", ".join(f"{value:.4g}" for value in values) or "-"
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    return f"{mean:.4g} ± {deviation:.2g} (n={len(values)})"


def curves(experiment: Experiment, runs: Sequence[Run], style: str = "simple") -> str:
    """Return the documented points beside the measured ones, at the same intervals.

    A cell reads ``documented / measured``; where a run is shorter than the document, it ends.
    """
    columns: dict[str, None] = {}
    rows = []
    for run in runs:
        if run.arm_name not in experiment.documented:
            continue
        printed = experiment.documented[run.arm_name]
        columns |= dict.fromkeys(printed.columns)
        for interval, values in printed.rows.items():
            if interval <= run.intervals:
                cells = [
                    f"{documented:.5g} / {run.history[column][interval - 1]:.5g}"
                    for column, documented in zip(printed.columns, values, strict=True)
                ]
                rows.append((run.arm_name, run.seed, interval, *cells))
    return tabulate(rows, ("arm", "seed", "interval", *columns), style, disable_numparse=True)


def runs(made: Sequence[Run], logdir: Path, style: str = "simple") -> str:
    """Return a line for each run: how far it got, where it is, its fingerprint."""
    rows = [
        (
            f"{run.status}, {run.intervals} intervals",
            f"{run.seconds:.0f} s",
            record.directory_of(run, logdir),
            (run.fingerprint or "-")[:16],
        )
        for run in made
    ]
    return tabulate(rows, ("status", "trained", "directory", "fingerprint"), style)


def caveat(runs: Sequence[Run]) -> str:
    """Return what a reader of the verdicts must know of the runs, empty where nothing."""
    first = runs[0]
    marks = [
        "miniature" * (first.scale == "mini"),
        "STAND-IN DATASET" * bool(first.dataset["stand_in"]),
        "arms changed by --set" * bool(first.changes),
        "partial runs" * any(run.status != "complete" for run in runs),
    ]
    return ", ".join(filter(None, marks))
