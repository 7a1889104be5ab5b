"""The picture of a search: maps of the objective over the space, and the trials' curves."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from experiments.harness.reporting.labels import dataset_in_title
from experiments.harness.runtime import filesystem
from experiments.harness.spec import Dimension
from experiments.tuning import labels, maps
from experiments.tuning.search import Search, Trials

MAX_PANELS = 4  # axes with curves
MAX_LEGEND = 16  # entries


def draw(search: Search, trials: Trials, path: Path) -> None:
    """Write a PNG: maps of the objective, at the end and after a tenth of the run, and its curves.

    The maps' horizontal axis is the last dimension that is always active; the vertical one is all
    others. A cross is a trial that diverged.
    """
    groups = _groups(trials, labels.horizontal_dimension(search))
    figure = Figure(figsize=(4.6 * (2 + len(groups)), 5.2), layout="constrained")
    axes = figure.subplots(1, 2 + len(groups), squeeze=False)[0]
    objective = f"validation {search.trainer.objective}"
    colours = maps.draw_maps(axes[:2], search, trials)
    figure.colorbar(colours, ax=axes[:2].tolist(), label=objective)
    for axis, (title, group) in zip(axes[2:], groups.items(), strict=True):
        _draw_curves(axis, search, group)
        axis.set(title=title, xlabel="interval")
        axis.sharey(axes[2])
    axes[2].set_ylabel(objective)
    if len(next(iter(groups.values()))) <= MAX_LEGEND:
        figure.legend(
            *axes[2].get_legend_handles_labels(),
            loc="outside right center",
            title=labels.vertical_label(search),
            frameon=False,
            fontsize=8,
        )
    template = search.trainer.template
    data = dataset_in_title(template.dataset)
    figure.suptitle(f"{template.arm_id} ({template.scale}, {data}): {search.oracle} search")
    with filesystem.atomic_replace(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _groups(trials: Trials, dimension: Dimension) -> dict[str, Trials]:
    """Return the trials by their value of a dimension, or in one group if it has many values."""
    ordered = {number: trials[number] for number in sorted(trials)}
    values = labels.distinct_values(trials, dimension)
    if len(values) > MAX_PANELS:
        return {"all trials": ordered}
    return {
        f"{dimension.short} {labels.format_value(value)}": {
            number: trial
            for number, trial in ordered.items()
            if trial.values[dimension.name] == value
        }
        for value in values
    }


def _draw_curves(axis: Axes, search: Search, trials: Trials) -> None:
    """Draw each trial's mean curve, coloured by the first range; a cross marks divergence."""
    space = search.trainer.space
    coloured = next((d for d in space if d.low is not None), space[0])
    numbers = [
        value
        for trial in trials.values()
        if isinstance(value := trial.values.get(coloured.name), int | float)
    ]
    norm = (LogNorm if coloured.log else Normalize)(
        min(numbers, default=0.1), max(numbers, default=1)
    )
    omit = labels.horizontal_dimension(search).name
    for trial in sorted(trials.values(), key=lambda trial: labels.sort_key(search, trial)):
        value = trial.values.get(coloured.name)
        colour = colormaps["plasma"](norm(value)) if isinstance(value, int | float) else "gray"
        style = "-" if coloured.name in trial.values else "--"
        label = labels.trial_label(search, trial.values, omit)
        mean = _mean_curve(trial.outcome.curves)
        axis.plot(range(1, len(mean) + 1), mean, style, color=colour, lw=1.2, label=label)
        finite = [k for k, score in enumerate(mean) if isfinite(score)]
        if trial.diverged and finite:
            last = finite[-1]
            axis.plot(last + 1, mean[last], "x", color=maps.DIVERGED_COLOUR, ms=8)
    axis.grid(alpha=0.25)


def _mean_curve(curves: Sequence[Sequence[float | None]]) -> list[float]:
    """Return the mean over seeds after each interval, NaN if any seed has no value."""
    filled = [[float("nan") if value is None else value for value in curve] for curve in curves]
    return [sum(values) / len(values) for values in zip(*filled, strict=True)]
