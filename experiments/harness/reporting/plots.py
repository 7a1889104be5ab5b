"""Documented points over measured curves, as pictures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import chain, cycle
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.harness.runtime import filesystem
from experiments.harness.spec import Arm, Experiment, Panel, ReportedValues, Run, Scale
from experiments.harness.spec.figures import DEFAULT_PANELS
from experiments.harness.spec.measures import finite_intervals

if TYPE_CHECKING:
    from experiments.harness.reporting.result import Result

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933",
           "#882255", "#44aa99", "#7f7f7f", "#aa4499")  # fmt: skip
PRINTED, LAST = "printed in the document", "last value before NaN"
MARKS: dict[str, dict[str, Any]] = {
    PRINTED: {"marker": "o", "mfc": "none"},
    LAST: {"marker": "X"},
}


def draw(experiment: Experiment, runs: Sequence[Run], path: Path) -> None:
    """Write a PNG of the experiment's panels: a colour for each arm, a line for each seed.

    Over intervals, circles are what the document prints, and a cross marks the last interval
    before a loss turned NaN; over an arm's field, points are the runs and lines their means.
    """
    by_arm: dict[str, list[Run]] = {}
    for run in runs:
        by_arm.setdefault(experiment.name_of(run.spec), []).append(run)
    joined = all(panel.against for panel in experiment.panels)
    lines = {arm: _family(arm) if joined else arm for arm in by_arm}
    _write(
        experiment.panels,
        lines,
        by_arm,
        experiment.documented,
        _title(experiment.title, runs),
        path,
    )


def overviews(results: Sequence[Result], folder: Path) -> dict[str, Path]:
    """Draw, for each document of several experiments, their documented arms over each other.

    Returns the pictures, written into ``folder``, by title.
    """
    groups: dict[tuple[str, Scale], dict[str, list[Run]]] = {}
    for result in results:
        lines = groups.setdefault((result.experiment.document[:3], result.runs[0].spec.scale), {})
        for run in result.runs:
            if run.spec.arm.role == "documented" and "test_accuracy" in run.history:
                same = lines.setdefault(run.spec.arm_id.removesuffix(":as_documented"), [])
                same += [run] if run not in same else []
    drawn = {}
    for (document, scale), lines in groups.items():
        if len({name.partition(":")[0] for name in lines}) > 1:
            title = _title(f"Document {document}: all experiments", [*chain(*lines.values())])
            drawn[title] = folder / f"document-{document}-{scale}.png"
            _write(
                DEFAULT_PANELS[:2], {name: name for name in lines}, lines, {}, title, drawn[title]
            )
    return drawn


def _write(
    panels: Sequence[Panel],
    lines: Mapping[str, str],
    by_arm: Mapping[str, Sequence[Run]],
    documented: Mapping[str, ReportedValues],
    title: str,
    path: Path,
) -> None:
    colour = dict(zip(dict.fromkeys(lines.values()), cycle(COLOURS), strict=False))
    figure = Figure(figsize=(4.4 * len(panels), 4.6), layout="constrained")
    marks: set[str] = set()
    alike = len({(panel.against, panel.along) for panel in panels}) == 1
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=alike)[0]
    for axis, panel in zip(axes, panels, strict=True):
        drawn = {arm: runs for arm, runs in by_arm.items() if arm.startswith(panel.arms)}
        axis.set(ylabel=panel.label, yscale=panel.scale)
        if panel.against:
            _finals(axis, panel, drawn, {arm: colour[lines[arm]] for arm in drawn})
        else:
            marks |= _curves(axis, panel, drawn, documented, colour)
        if panel.limits:
            axis.set_ylim(panel.limits)
        axis.grid(alpha=0.25)
    handles = [Line2D([], [], color=colour[name], label=name) for name in colour]
    handles += [
        Line2D([], [], color="gray", ls="", label=name, **MARKS[name]) for name in sorted(marks)
    ]
    widest = max(len(str(handle.get_label())) for handle in handles) * 0.08 + 0.6  # inches
    columns = max(1, int(figure.get_figwidth() / widest))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    with filesystem.atomic_replace(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _curves(
    axis: Axes,
    panel: Panel,
    by_arm: Mapping[str, Sequence[Run]],
    documented: Mapping[str, ReportedValues],
    colour: Mapping[str, str],
) -> set[str]:
    """Draw a column over the intervals; return which marks were needed."""
    marks, anything = set(), False
    for arm, runs in by_arm.items():
        for run, values in _lines(panel, runs):
            count = sum(map(isfinite, values))
            if not count:
                continue
            anything = True
            alone = "." if count == 1 else None
            axis.plot(range(1, len(values) + 1), values, marker=alone, color=colour[arm], lw=1)
            finite = finite_intervals(run)
            if 0 < finite < len(values):
                axis.plot(finite, values[finite - 1], "X", color=colour[arm], ms=8)
                marks.add(LAST)
        if arm in documented:
            points = documented[arm].points(panel.column)
            axis.plot([*points], [*points.values()], "o", color=colour[arm], mfc="none", ms=6)
            marks |= {PRINTED} if points else set()
    if not anything:
        axis.text(0.5, 0.5, "nothing finite", transform=axis.transAxes, ha="center")
    longest = max((run.intervals for runs in by_arm.values() for run in runs), default=0)
    axis.set(xlabel=panel.along, xlim=(0, longest + 1))
    return marks


def _lines(panel: Panel, runs: Sequence[Run]) -> list[tuple[Run, Sequence[float]]]:
    """Return the lines to draw of an arm's runs, each with a run that it is of."""
    shown = [run for run in runs if panel.column in run.history]
    if not panel.mean:
        return [(run, run.history[panel.column]) for run in shown]
    columns = zip(*(run.history[panel.column] for run in shown), strict=False)
    return [(run, [statistics.fmean(at) for at in columns]) for run in shown[:1]]


def _finals(
    axis: Axes, panel: Panel, by_arm: Mapping[str, Sequence[Run]], colour: Mapping[str, str]
) -> None:
    """Draw a column's last value over an arm's field, where the arm has such a number."""
    families: dict[str, dict[float, list[float]]] = {}
    for arm, runs in by_arm.items():
        for run in (run for run in runs if panel.column in run.history):
            value = run.history[panel.column][-1]
            place = _field(run.spec.arm, panel.against or "")
            if place is None:
                continue
            families.setdefault(_family(arm), {}).setdefault(place, []).append(value)
            axis.plot(place, value, "o", color=colour[arm], ms=3, alpha=0.6)
    shown = {_family(arm): colour[arm] for arm in by_arm}
    for family, points in families.items():
        places = sorted(points)
        means = [statistics.fmean(points[place]) for place in places]
        axis.plot(places, means, color=shown[family], lw=1.2)
    axis.set(xscale=panel.across, xlabel=(panel.against or "").rpartition(".")[2])


def _family(arm: str) -> str:
    return arm.rpartition("_")[0] or arm


def _field(arm: Arm, path: str) -> float | None:
    """Return the number at ``path``, None where a user's change left none there."""
    value: Any = vars(arm)
    for key in path.split("."):
        value = value.get("config", value).get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) else None


def _title(title: str, runs: Sequence[Run]) -> str:
    data = {
        run.spec.dataset["name"] + ", a stand-in" * run.spec.dataset["stand_in"] for run in runs
    }
    return f"{title} ({runs[0].spec.scale}, {'; '.join(sorted(data))})"
