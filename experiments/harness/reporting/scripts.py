"""The runs of users' own scripts: found, drawn, and summarised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from math import isfinite
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from tabulate import tabulate

from experiments.harness.reporting.plots import COLOURS
from experiments.harness.reporting.result import json_safe
from experiments.harness.runtime import filesystem
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ScriptRun, UserError
from experiments.harness.storage import run_record

PICTURE = "scripts.png"
NOT_DRAWN = ("step", "learning_rate")
MOST_PANELS = 6
HEADERS = ("directory", "script", "seed", "epochs", "status", "fingerprint", "exact")


def find_runs(logdir: Path) -> dict[str, ScriptRun]:
    """Return every script's run below ``logdir`` by its path there; damaged ones are logged."""
    runs = {}
    for path in sorted(logdir.rglob("run.json")):
        try:
            with path.open("rb") as file:
                if b'"script"' not in file.read(40):  # its first field
                    continue
            run = run_record.read_any(path.parent)
        except (UserError, OSError) as error:
            logger.warning(f"left out: {error}")
            continue
        if isinstance(run, ScriptRun):
            runs[str(path.parent.relative_to(logdir))] = run
    return runs


def summary(runs: Mapping[str, ScriptRun]) -> list[dict[str, Any]]:
    """Return the runs as JSON types."""
    return [
        json_safe(
            {
                "directory": name,
                "script": run.spec.script,
                "seed": run.spec.seed,
                "model": dict(run.spec.model),
                "data": dict(run.spec.data),
                "environment": dict(run.spec.environment),
                "status": run.status,
                "intervals": run.intervals,
                "fingerprint": run.fingerprint,
                "inexact": [dict(note) for note in run.inexact],
                "started": run.started,
                "seconds": round(run.seconds, 3),
                "commit": run.commit,
                "history": {column: [*values] for column, values in run.history.items()},
            }
        )
        for name, run in runs.items()
    ]


def table(summaries: Sequence[Mapping[str, Any]], style: str = "simple") -> str:
    """Return one row per run; ``style`` is one of tabulate's."""
    rows = [
        (
            each["directory"],
            each["script"],
            "-" if each["seed"] is None else each["seed"],
            each["intervals"],
            each["status"],
            (each["fingerprint"] or "-")[:16],
            "; ".join(f"not after {note['after']}: {note['why']}" for note in each["inexact"])
            or ("yes" if each["environment"].get("deterministic", True) else "not deterministic"),
        )
        for each in summaries
    ]
    widths = [None] * 6 + [48] if style == "simple" else None
    return tabulate(rows, HEADERS, style, maxcolwidths=widths, disable_numparse=True)


def draw(runs: Mapping[str, ScriptRun], path: Path) -> None:
    """Write a PNG with a panel per metric: training thin, validation thick, a colour per run."""
    names = [column for run in runs.values() for column in run.history if column not in NOT_DRAWN]
    metrics = [*dict.fromkeys(name.removeprefix("test_") for name in names)][:MOST_PANELS]
    figure = Figure(figsize=(4.4 * max(1, len(metrics)), 4.6), layout="constrained")
    axes = figure.subplots(1, max(1, len(metrics)), squeeze=False)[0]
    for axis, metric in zip(axes, metrics, strict=False):
        for (name, run), colour in zip(runs.items(), cycle(COLOURS), strict=False):
            for column, width in ((metric, 0.8), (f"test_{metric}", 1.8)):
                values = run.history.get(column, ())
                points = {n: v for n, v in enumerate(values, 1) if isfinite(v)}
                marker = "." if len(points) == 1 else None
                axis.plot(
                    [*points],
                    [*points.values()],
                    color=colour,
                    lw=width,
                    marker=marker,
                    label=name if axis is axes[0] and width > 1 else None,
                )
        axis.set(xlabel="epoch", ylabel=metric)
        axis.grid(alpha=0.25)
    if len(runs) <= len(COLOURS):
        figure.legend(loc="outside lower center", ncols=len(axes), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with filesystem.atomic_replace(path) as temporary:
        figure.savefig(temporary, dpi=110)
