"""Documented beside measured, and the verdicts, as tables of text. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from experiments.harness import record
from experiments.harness.spec import Experiment, Run


def verdicts(claims: Sequence[Mapping[str, Any]], style: str = "simple") -> str:
    """Return a table with a line for each of a result's claims; ``style`` is one of tabulate's."""
    rows = [
        (
            f"C{number}",
            claim["claim"],
            claim["documented"],
            "{:g} to {:g}".format(*map(float, claim["bounds"])),
            spread([float(value) for value in claim["values"].values()]),
            f"{claim['verdict']} ({claim['note']})" if claim["note"] else claim["verdict"],
        )
        for number, claim in enumerate(claims, 1)
    ]
    headers = ("", "claim", "document", "bounds", "measured", "verdict")
    widths = [None, 44, None, None, 20, 24] if style == "simple" else None
    return tabulate(rows, headers, style, maxcolwidths=widths, disable_numparse=True)


def tally(results: Sequence[Mapping[str, Any]], style: str = "simple") -> str:
    """Return a line for each result: how its claims came out, and which were refuted."""
    rows = []
    for told in results:
        outcomes = [claim["verdict"] for claim in told["claims"]]
        refuted = [f"C{n}" for n, outcome in enumerate(outcomes, 1) if outcome == "REFUTED"]
        rows.append(
            (
                told["experiment"],
                told["scale"] + ", STAND-IN DATA" * told["dataset"]["stand_in"],
                len({run["seed"] for run in told["runs"]}),
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


def curves(experiment: Experiment, runs: Sequence[Run], style: str = "simple") -> str:
    """Return the documented values beside the measured ones, at the same intervals.

    Several seeds are told as mean and spread. An interval that no run reached is left out.
    """
    rows = []
    for arm, printed in experiment.documented.items():
        made = [run for run in runs if experiment.named(run) == arm]
        for interval, values in printed.rows.items():
            reached = [run for run in made if run.intervals >= interval]
            if reached:
                row = [arm, interval]
                for column, documented in zip(printed.columns, values, strict=True):
                    measured = [run.history[column][interval - 1] for run in reached]
                    row += [f"{documented:.5g}", spread(measured)]
                rows.append(row)
    columns = dict.fromkeys(
        c for printed in experiment.documented.values() for c in printed.columns
    )
    kinds = [f"{name}: {kind}" for name in columns for kind in ("document", "measured")]
    return tabulate(rows, ("arm", "interval", *kinds), style, disable_numparse=True)


def runs(made: Sequence[Run], logdir: Path, style: str = "simple") -> str:
    """Return a line for each run: how far it got, where it is, its fingerprint."""
    rows = [
        (
            f"{run.status}, {run.intervals} of {run.arm.intervals} intervals",
            f"{run.seconds:.0f} s",
            record.directory_of(run, logdir),
            (run.fingerprint or "-")[:16],
        )
        for run in made
    ]
    return tabulate(rows, ("status", "trained", "directory", "fingerprint"), style)
