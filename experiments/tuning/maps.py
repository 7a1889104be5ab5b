"""Maps of a search's objective over the space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from experiments.harness.spec import Dimension
from experiments.tuning import labels
from experiments.tuning.oracles import TUNER_PREFIX
from experiments.tuning.search import FinishedTrial, Search, Trials
from experiments.tuning.trial import EARLY_SHARE

MAX_CELLS = 16  # along an axis; a map of more values shows points
MAX_HORIZONTAL = 5  # tick labels that fit without being rotated
DIVERGED_COLOUR = "#d62728"
COLOURS = colormaps["viridis"]


def draw_maps(axes: Sequence[Axes], search: Search, trials: Trials) -> ScalarMappable:
    """Draw the maps at the end and after a tenth of the run; return their colour scale."""
    trials = latest_of_each_arm(trials)
    shares = {"at the end": 1.0, "after a tenth of the run": EARLY_SHARE}
    found = [_map_value(trial, share) for share in shares.values() for trial in trials.values()]
    values = [value for value in found if value is not None]
    norm = Normalize(min(values, default=0), max(values, default=1))
    for axis, (title, share) in zip(axes, shares.items(), strict=True):
        _draw_map(axis, search, trials, share, norm)
        axis.set_title(title)
    axes[1].set(ylabel="", yticks=[])
    return ScalarMappable(norm, COLOURS)


def latest_of_each_arm(trials: Trials) -> Trials:
    """Return the last trial of those with equal values: Hyperband continues some trials."""
    numbers = {
        json.dumps({k: v for k, v in trials[n].values.items() if not k.startswith(TUNER_PREFIX)}): n
        for n in sorted(trials)
    }
    return {number: trials[number] for number in numbers.values()}


def _map_value(trial: FinishedTrial, share: float) -> float | None:
    """Return the objective after a share of the run, None if the trial diverged."""
    return None if trial.diverged else trial.outcome.after(share)


def _draw_map(axis: Axes, search: Search, trials: Trials, share: float, norm: Normalize) -> None:
    horizontal = labels.horizontal_dimension(search)
    columns = labels.distinct_values(trials, horizontal)
    ordered = sorted(trials.values(), key=lambda trial: labels.sort_key(search, trial))
    rows = list(
        dict.fromkeys(labels.trial_label(search, t.values, horizontal.name) for t in ordered)
    )
    if max(len(columns), len(rows)) > MAX_CELLS:
        _draw_points(axis, search, trials, share, norm)
        return
    for trial in trials.values():
        row = rows.index(labels.trial_label(search, trial.values, horizontal.name))
        column = columns.index(trial.values[horizontal.name])
        _draw_cell(axis, (column, row), _map_value(trial, share), norm)
    rotation = 90 if len(columns) > MAX_HORIZONTAL else 0
    axis.set_xticks(range(len(columns)), [*map(labels.format_value, columns)], rotation=rotation)
    axis.set_yticks(range(len(rows)), rows)
    axis.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(rows) - 0.5))
    axis.set(xlabel=horizontal.short, ylabel=labels.vertical_label(search))


def _draw_cell(axis: Axes, cell: tuple[int, int], value: float | None, norm: Normalize) -> None:
    if value is None:
        axis.text(*cell, "×", ha="center", va="center", color=DIVERGED_COLOUR, size=16)  # noqa: RUF001
        return
    text_colour = "white" if norm(value) < 0.6 else "black"
    corner = (cell[0] - 0.5, cell[1] - 0.5)
    axis.add_patch(Rectangle(corner, 1, 1, color=COLOURS(norm(value))))
    axis.text(*cell, f"{value:.3f}", ha="center", va="center", size=8, color=text_colour)


def _draw_points(axis: Axes, search: Search, trials: Trials, share: float, norm: Normalize) -> None:
    """Draw trials over two ranges; those without a value of the vertical one are drawn below.

    The horizontal range is one that is always active; without any, it is the trials' order.
    """
    ranges = [d for d in search.trainer.space if d.low is not None]
    horizontal = next((d for d in reversed(ranges) if d.condition is None), None)
    vertical = next((d for d in ranges if d is not horizontal), None)
    rows_below: dict[str, float] = {}
    for number, trial in trials.items():
        x: Any = trial.values[horizontal.name] if horizontal else number
        y: Any = trial.values.get(vertical.name) if vertical else None
        if y is None:
            label = labels.trial_label(search, trial.values, horizontal.name if horizontal else "")
            y = rows_below.setdefault(label, _y_below(vertical, 1 + len(rows_below)))
        value = _map_value(trial, share)
        if value is None:
            axis.plot(x, y, "x", color=DIVERGED_COLOUR, ms=8)
        else:
            axis.scatter([x], [y], c=[value], norm=norm, cmap=COLOURS, edgecolors="gray")
    for label, y in rows_below.items():
        axis.axhline(y, color="gray", lw=0.5, ls=":")
        axis.annotate(label, (0.01, y), xycoords=("axes fraction", "data"), size=8, va="bottom")
    axis.set(xlabel=horizontal.short if horizontal else "trial")
    axis.set(ylabel=vertical.short if vertical else "")
    axis.set(xscale=_axis_scale(horizontal), yscale=_axis_scale(vertical))


def _y_below(vertical: Dimension | None, row: int) -> float:
    """Return the height of a row, counted from 1, below the range of the vertical dimension."""
    if vertical is None or vertical.low is None or vertical.high is None:
        return -float(row)
    if vertical.log:
        return vertical.low / 3.0**row
    return vertical.low - row * (vertical.high - vertical.low) / 8


def _axis_scale(dimension: Dimension | None) -> str:
    return "log" if dimension and dimension.log else "linear"
