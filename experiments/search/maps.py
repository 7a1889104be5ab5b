"""A search as a picture: maps of the objective over the space, and the trials' curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.harness import files, space
from experiments.search.plan import Search, Trials, Tried
from experiments.search.trial import EARLY

CELLS = 16  # a map of more values than these along an axis shows points
PANELS = 4  # axes with curves, at most
BAD = "#d62728"
COLOURS = colormaps["viridis"]


def picture(search: Search, trials: Trials, path: Path) -> None:
    """Write a PNG: maps of the objective, at the end and after a tenth, and its curves.

    The last dimension is along the maps' horizontal axis, the others along the vertical one; a
    cross is a trial that diverged.
    """
    across = search.trainer.space[-1].name
    groups = _groups(trials, across)
    figure = Figure(figsize=(4.6 * (2 + len(groups)), 5.2), layout="constrained")
    axes = figure.subplots(1, 2 + len(groups), squeeze=False)[0]
    maps = {"at the end": 1.0, "after a tenth of the run": EARLY}
    found = [v for share in maps.values() for t in trials.values() if (v := shown(t, share))]
    colours = Normalize(min(found, default=0), max(found, default=1))
    for axis, (title, share) in zip(axes, maps.items(), strict=False):
        _map(axis, search, trials, share, colours)
        axis.set_title(title)
    axes[1].set(ylabel="", yticks=[])
    measured = f"validation {search.trainer.objective}"
    figure.colorbar(ScalarMappable(colours, COLOURS), ax=axes[:2].tolist(), label=measured)
    for axis, (title, numbers) in zip(axes[2:], groups.items(), strict=True):
        _curves(axis, search, {number: trials[number] for number in numbers})
        axis.set(title=title, xlabel="interval")
        axis.sharey(axes[2])
    axes[2].set_ylabel(measured)
    if len(groups[next(iter(groups))]) <= CELLS:
        options: dict[str, Any] = {"title": _rest(search), "frameon": False, "fontsize": 8}
        figure.legend(*axes[2].get_legend_handles_labels(), loc="outside right center", **options)
    template = search.trainer.template
    data = template.dataset["name"] + ", a stand-in" * template.dataset["stand_in"]
    figure.suptitle(f"{template.home} ({template.scale}, {data}): {search.oracle} search")
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def shown(tried: Tried, share: float) -> float | None:
    """Return what a map shows of a trial, None where it diverged."""
    return None if tried.diverged else tried.outcome.after(share)


def label(search: Search, values: Mapping[str, Any], without: str = "") -> str:
    """Return a trial's values in short, but for one; a choice is told by what it leads to."""
    parents = {d.when[0] for d in space.active(search.trainer.space, values) if d.when}
    told = [
        values[d.name]
        for d in space.active(search.trainer.space, values)
        if d.name in values and d.name != without and d.name not in parents
    ]
    return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in told)


def _map(axis: Axes, search: Search, trials: Trials, share: float, colours: Normalize) -> None:
    dimension = search.trainer.space[-1]
    places = sorted({tried.values[dimension.name] for tried in trials.values()}, key=_order)
    others = list(
        dict.fromkeys(
            label(search, t.values, dimension.name)
            for t in sorted(trials.values(), key=lambda t: _order_of(search, t))
        )
    )
    cells = max(len(places), len(others)) <= CELLS
    if not cells:
        _points(axis, search, trials, share, colours)
        return
    for tried in trials.values():
        x = places.index(tried.values[dimension.name])
        y = others.index(label(search, tried.values, dimension.name))
        value = shown(tried, share)
        if value is None:
            axis.text(x, y, "×", ha="center", va="center", color=BAD, size=16)  # noqa: RUF001
            continue
        colour = COLOURS(colours(value))
        ink = "white" if colours(value) < 0.6 else "black"
        axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour))
        axis.text(x, y, f"{value:.3f}", ha="center", va="center", size=8, color=ink)
    axis.set_xticks(range(len(places)), [_told(place) for place in places])
    axis.set_yticks(range(len(others)), others)
    axis.set(xlim=(-0.5, len(places) - 0.5), ylim=(-0.5, len(others) - 0.5))
    axis.set(xlabel=dimension.short, ylabel=_rest(search))


def _points(axis: Axes, search: Search, trials: Trials, share: float, colours: Normalize) -> None:
    """Draw trials over two ranges; those in which the vertical one is not active stand below."""
    ranged = [d for d in search.trainer.space if d.low is not None] or [*search.trainer.space]
    across, up = ranged[-1], ranged[0]
    beside: dict[str, float] = {}
    for tried in trials.values():
        x: Any = tried.values.get(across.name)
        y: Any = tried.values.get(up.name)
        if y is None or across is up:
            name = label(search, tried.values, across.name)
            y = beside.setdefault(name, (up.low or 1.0) / 3.0 ** (1 + len(beside)))
        value = shown(tried, share)
        if value is None:
            axis.plot(x, y, "x", color=BAD, ms=8)
        else:
            axis.scatter([x], [y], c=[value], norm=colours, cmap=COLOURS, edgecolors="gray")
    for name, y in beside.items():
        axis.axhline(y, color="gray", lw=0.5, ls=":")
        axis.annotate(name, (0.01, y), xycoords=("axes fraction", "data"), size=8, va="bottom")
    axis.set(xlabel=across.short, ylabel=up.short)
    axis.set(xscale="log" if across.log else "linear", yscale="log" if up.log else "linear")


def _curves(axis: Axes, search: Search, trials: Trials) -> None:
    """Draw each trial's mean curve, coloured by the first range; a cross where it diverged."""
    ranged = next((d for d in search.trainer.space if d.low is not None), search.trainer.space[0])
    places = [t.values[ranged.name] for t in trials.values() if ranged.name in t.values]
    numbers = [place for place in places if isinstance(place, int | float)]
    kind = LogNorm if ranged.log else Normalize
    norm = kind(min(numbers, default=0.1), max(numbers, default=1))
    for tried in sorted(trials.values(), key=lambda t: _order_of(search, t)):
        place = tried.values.get(ranged.name)
        colour = colormaps["plasma"](norm(place)) if isinstance(place, int | float) else "gray"
        curves = [[float("nan") if v is None else v for v in c] for c in tried.outcome.curves]
        mean = [sum(at) / len(at) for at in zip(*curves, strict=True)]
        name = label(search, tried.values, search.trainer.space[-1].name)
        steps = range(1, len(mean) + 1)
        style = "-" if ranged.name in tried.values else "--"
        axis.plot(steps, mean, style, color=colour, lw=1.2, label=name)
        finite = [k for k, value in enumerate(mean) if isfinite(value)]
        if tried.diverged and finite:
            axis.plot(finite[-1] + 1, mean[finite[-1]], "x", color=BAD, ms=8)
    axis.grid(alpha=0.25)


def _groups(trials: Trials, across: str) -> dict[str, list[int]]:
    """Return the trials by their value of the last dimension, or all where there are many."""
    values = sorted({tried.values[across] for tried in trials.values()}, key=_order)
    if len(values) > PANELS:
        return {"all trials": sorted(trials)}
    short = across.rpartition(".")[2]
    return {
        f"{short} {_told(value)}": [n for n in sorted(trials) if trials[n].values[across] == value]
        for value in values
    }


def _rest(search: Search) -> str:
    """Return what the vertical axis of a map is: every dimension that leads to no other."""
    parents = {d.when[0] for d in search.trainer.space if d.when}
    return ", ".join(d.short for d in search.trainer.space[:-1] if d.name not in parents)


def _order_of(search: Search, tried: Tried) -> list[tuple[bool, float, str]]:
    return [_order(tried.values.get(d.name)) for d in reversed(search.trainer.space[:-1])]


def _order(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float)
    return (not number, value if number else 0.0, json.dumps(value))


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
