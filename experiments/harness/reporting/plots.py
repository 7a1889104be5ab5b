"""Pictures of measured curves, with the points that the document prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, cycle, zip_longest
from math import isfinite, nan
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.harness.reporting import labels
from experiments.harness.runtime import filesystem
from experiments.harness.spec import Arm, Experiment, Panel, ReportedValues, Run, Scale
from experiments.harness.spec.figures import DEFAULT_PANELS
from experiments.harness.spec.measures import finite_intervals

if TYPE_CHECKING:
    from experiments.harness.reporting.result import Result

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933",
           "#882255", "#44aa99", "#7f7f7f", "#aa4499")  # fmt: skip
BAND_FROM = 3  # seeds
PRINTED, LAST = "printed in the document, at its epochs", "last value before NaN"
MARKS: dict[str, dict[str, Any]] = {
    PRINTED: {"marker": "o", "mfc": "none"},
    LAST: {"marker": "X"},
}


def draw(experiment: Experiment, runs: Sequence[Run], path: Path) -> None:
    """Write a PNG of the experiment's panels: one colour per arm.

    Over intervals, a line is a run. Of ``BAND_FROM`` seeds and more it is the median, in a band
    from the lowest to the highest, of the runs that reached the interval with a finite loss.
    Circles are values that the document prints, and a cross marks the last interval before a run's
    loss turned NaN. A panel with ``mean`` shows means only. Over an arm's field, points are runs
    and lines their means.
    """
    by_arm: dict[str, list[Run]] = {}
    for run in runs:
        by_arm.setdefault(experiment.name_of(run.spec), []).append(run)
    over_fields = all(panel.against for panel in experiment.panels)
    legend = {arm: _family(arm) if over_fields else arm for arm in by_arm}
    title = _title(experiment.title, runs)
    _write(experiment.panels, legend, by_arm, experiment.documented, title, path)


def overviews(results: Sequence[Result], folder: Path) -> dict[str, Path]:
    """Draw the documented arms of all experiments of a document into one picture.

    Documents with a single experiment are left out. Returns the pictures, written into ``folder``,
    by title.
    """
    groups: dict[tuple[str, Scale], dict[str, list[Run]]] = {}
    for result in results:
        by_arm = groups.setdefault((result.experiment.document[:3], result.runs[0].spec.scale), {})
        for run in result.runs:
            if run.spec.arm.role == "documented" and "test_accuracy" in run.history:
                runs = by_arm.setdefault(run.spec.arm_id.removesuffix(":as_documented"), [])
                runs += [run] if run not in runs else []
    pictures = {}
    for (document, scale), by_arm in groups.items():
        if len({name.partition(":")[0] for name in by_arm}) > 1:
            title = _title(f"Document {document}: all experiments", [*chain(*by_arm.values())])
            path = pictures[title] = folder / f"document-{document}-{scale}.png"
            _write(DEFAULT_PANELS[:2], {arm: arm for arm in by_arm}, by_arm, {}, title, path)
    return pictures


def _write(
    panels: Sequence[Panel],
    legend: Mapping[str, str],
    by_arm: Mapping[str, Sequence[Run]],
    documented: Mapping[str, ReportedValues],
    title: str,
    path: Path,
) -> None:
    """Write a PNG with the panels side by side; ``legend`` has the arms' names in the legend."""
    colours = dict(zip(dict.fromkeys(legend.values()), cycle(COLOURS), strict=False))
    figure = Figure(figsize=(4.4 * len(panels), 4.6), layout="constrained")
    marks: set[str] = set()
    same_x = len({(panel.against, panel.along) for panel in panels}) == 1
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=same_x)[0]
    for axis, panel in zip(axes, panels, strict=True):
        shown = {arm: runs for arm, runs in by_arm.items() if arm.startswith(panel.arms)}
        colour_of = {arm: colours[legend[arm]] for arm in shown}
        axis.set_ylabel(panel.label)
        if panel.against:
            _draw_last_values(axis, panel, shown, colour_of)
        else:
            marks |= _draw_curves(axis, panel, shown, documented, colour_of)
        axis.set_yscale(_scale(panel.scale, *(line.get_ydata() for line in axis.lines)))
        if panel.limits:
            axis.set_ylim(panel.limits)
        axis.grid(alpha=0.25)
    _add_legend(figure, colours, sorted(marks))
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    with filesystem.atomic_replace(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _add_legend(figure: Figure, colours: Mapping[str, str], marks: Sequence[str]) -> None:
    """Add a legend below the axes, in as many columns as fit."""
    handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    handles += [Line2D([], [], color="gray", ls="", label=mark, **MARKS[mark]) for mark in marks]
    widest = max(len(str(handle.get_label())) for handle in handles) * 0.08 + 0.6  # inches
    columns = max(1, int(figure.get_figwidth() / widest))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def _draw_curves(
    axis: Axes,
    panel: Panel,
    by_arm: Mapping[str, Sequence[Run]],
    documented: Mapping[str, ReportedValues],
    colours: Mapping[str, str],
) -> set[str]:
    """Draw a column over the intervals; return the names of the marks in use."""
    marks, any_finite = set(), False
    longest = max((run.intervals for runs in by_arm.values() for run in runs), default=0)
    for arm, runs in by_arm.items():
        colour = colours[arm]
        shown = [run for run in runs if panel.column in run.history]
        curves = [run.history[panel.column] for run in shown]
        any_finite |= any(isfinite(value) for values in curves for value in values)
        ends = [*map(finite_intervals, shown)]
        equally_long = len({*map(len, curves)}) == 1  # else the line jumps where a run ends
        together = equally_long and (len(curves) >= BAND_FROM or panel.mean) and any(ends)
        if together:
            before_nan = [values[:end] for values, end in zip(curves, ends, strict=True)]
            rows = zip_longest(*before_nan, fillvalue=nan)
            columns = [[*filter(isfinite, values)] or [nan] for values in rows]
            xs = range(1, len(columns) + 1)
            marker = "." if len(columns) == 1 else None
            line = [fmean(values) if panel.mean else median(values) for values in columns]
            axis.plot(xs, line, color=colour, lw=1.5, marker=marker)
            if not panel.mean:
                lowest, highest = [*map(min, columns)], [*map(max, columns)]
                axis.fill_between(xs, lowest, highest, color=colour, alpha=0.15, lw=0)
        for values in () if together else curves:
            marker = "." if sum(map(isfinite, values)) == 1 else None
            axis.plot(range(1, len(values) + 1), values, marker=marker, color=colour, lw=1)
        for values, end in () if panel.mean else zip(curves, ends, strict=True):
            if 0 < end < len(values):
                axis.plot(end, values[end - 1], "X", color=colour, ms=8, zorder=3)
                marks.add(LAST)
        if arm in documented:
            reported = documented[arm].points(panel.column)
            points = {x: y for x, y in reported.items() if x <= longest}
            axis.plot([*points], [*points.values()], "o", color=colour, mfc="white", ms=6, zorder=4)
            marks |= {PRINTED} if points else set()
    if not any_finite:
        axis.text(0.5, 0.5, "nothing finite", transform=axis.transAxes, ha="center")
    axis.set(xlabel=panel.along, xlim=(0, longest + 1))
    return marks


def _draw_last_values(
    axis: Axes, panel: Panel, by_arm: Mapping[str, Sequence[Run]], colours: Mapping[str, str]
) -> None:
    """Draw a column's last values over a field of the arms; arms without it are left out."""
    families: dict[str, dict[float, list[float]]] = {}
    for arm, runs in by_arm.items():
        for run in runs:
            if run.status != "complete" or panel.column not in run.history:
                continue
            value = run.history[panel.column][-1]
            x = _number_at(run.spec.arm, panel.against or "")
            if x is None:
                continue
            families.setdefault(_family(arm), {}).setdefault(x, []).append(value)
            axis.plot(x, value, "o", color=colours[arm], ms=3, alpha=0.6)
    family_colours = {_family(arm): colours[arm] for arm in by_arm}
    for family, points in families.items():
        xs = sorted(points)
        means = [fmean(points[x]) for x in xs]
        axis.plot(xs, means, color=family_colours[family], lw=1.2)
    axis.set_xscale(_scale(panel.across, *families.values()))
    axis.set_xlabel((panel.against or "").rpartition(".")[2])


def _scale(wanted: str, *series: Iterable[Any]) -> str:
    """Return the scale ``wanted``, or a linear one if no value has a logarithm."""
    return wanted if any(value > 0 for values in series for value in values) else "linear"


def _family(arm: str) -> str:
    """Return an arm's name without its last part, which stands for the field's value."""
    return arm.rpartition("_")[0] or arm


def _number_at(arm: Arm, path: str) -> float | None:
    """Return the number at ``path``, None if overrides have removed it."""
    value: Any = vars(arm)
    for key in path.split("."):
        value = value.get("config", value).get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) else None


def _title(title: str, runs: Sequence[Run]) -> str:
    data = {labels.dataset_in_title(run.spec.dataset) for run in runs}
    return f"{title} ({runs[0].spec.scale}, {'; '.join(sorted(data))})"
