"""Documented points over measured curves, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.harness import files
from experiments.harness.measures import finite_intervals
from experiments.harness.spec import Experiment, Run

PANELS = {  # column: (label, scale of the axis)
    "test_loss": ("test loss", "log"),
    "test_accuracy": ("test accuracy", "linear"),
    "logit_gap": ("largest logit gap of a training sample", "linear"),
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def curves(experiment: Experiment, runs: Sequence[Run], path: Path) -> None:
    """Write a PNG: a panel for each column, a colour for each arm, a line for each seed.

    The horizontal axis is the interval, the unit that the document's points stand at. A cross
    marks the last interval before a loss turned NaN.
    """
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    names = dict.fromkeys(run.arm_name for run in runs)
    colour = dict(zip(names, cycle(COLOURS), strict=False))
    for axis, (column, (label, scale)) in zip(axes, PANELS.items(), strict=True):
        for run in runs:
            _measured(axis, run, column, colour[run.arm_name])
        for arm in names:
            if arm in experiment.documented:
                points = experiment.documented[arm].points(column)
                axis.plot(points.keys(), points.values(), "o", color=colour[arm], mfc="none", ms=6)
        axis.set(xlabel="interval", ylabel=label, yscale=scale)
        axis.grid(alpha=0.25)
    handles = [Line2D([], [], color=colour[name], label=name) for name in colour]
    handles += [
        Line2D(
            [], [], color="gray", marker="o", mfc="none", ls="", label="printed in the document"
        ),
        Line2D([], [], color="gray", marker="X", ls="", label="last value before NaN"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    data = runs[0].dataset["name"] + (", a stand-in" if runs[0].dataset["stand_in"] else "")
    figure.suptitle(f"{experiment.title} ({runs[0].scale}, {data})")
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _measured(axis: Axes, run: Run, column: str, colour: str) -> None:
    values = run.history[column]
    axis.plot(range(1, len(values) + 1), values, color=colour, lw=1, alpha=0.7)
    finite = finite_intervals(run)
    if 0 < finite < len(values):
        axis.plot(finite, values[finite - 1], "X", color=colour, ms=8)
