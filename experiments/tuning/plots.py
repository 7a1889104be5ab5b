"""A search as a picture: maps of the objective over the space, and the trials' curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.harness.runtime import filesystem
from experiments.harness.spec import Dimension, search_space
from experiments.tuning.oracles import TUNER_PREFIX
from experiments.tuning.search import FinishedTrial, Search, Trials
from experiments.tuning.trial import EARLY

CELLS = 16  # a map of more values than these along an axis shows points
TURNED = 5  # values of more along the horizontal one are written upwards
PANELS = 4  # axes with curves, at most
BAD = "#d62728"
COLOURS = colormaps["viridis"]


def draw(search: Search, trials: Trials, path: Path) -> None:
    """Write a PNG: maps of the objective, at the end and after a tenth, and its curves.

    The last dimension that is always active is along the maps' horizontal axis, the others along
    the vertical one; a cross is a trial that diverged.
    """
    groups = _groups(trials, _across(search))
    figure = Figure(figsize=(4.6 * (2 + len(groups)), 5.2), layout="constrained")
    axes = figure.subplots(1, 2 + len(groups), squeeze=False)[0]
    measured = f"validation {search.trainer.objective}"
    figure.colorbar(_maps(axes[:2], search, trials), ax=axes[:2].tolist(), label=measured)
    for axis, (title, numbers) in zip(axes[2:], groups.items(), strict=True):
        _curves(axis, search, {number: trials[number] for number in numbers})
        axis.set(title=title, xlabel="interval")
        axis.sharey(axes[2])
    axes[2].set_ylabel(measured)
    if len(next(iter(groups.values()))) <= CELLS:
        options: dict[str, Any] = {"title": _rest(search), "frameon": False, "fontsize": 8}
        figure.legend(*axes[2].get_legend_handles_labels(), loc="outside right center", **options)
    template = search.trainer.template
    data = template.dataset["name"] + ", a stand-in" * template.dataset["stand_in"]
    figure.suptitle(f"{template.arm_id} ({template.scale}, {data}): {search.oracle} search")
    with filesystem.atomic_replace(path) as temporary:
        figure.savefig(temporary, dpi=110)


def shown(tried: FinishedTrial, share: float) -> float | None:
    """Return what a map shows of a trial, None where it diverged."""
    return None if tried.diverged else tried.outcome.after(share)


def label(search: Search, values: Mapping[str, Any], without: str = "") -> str:
    """Return a trial's values in short, but for one; a choice is told by what it leads to."""
    parents = {
        d.when[0] for d in search_space.active_dimensions(search.trainer.space, values) if d.when
    }
    told = [
        values[d.name]
        for d in search_space.active_dimensions(search.trainer.space, values)
        if d.name in values and d.name != without and d.name not in parents
    ]
    return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in told)


def _maps(axes: Sequence[Axes], search: Search, trials: Trials) -> ScalarMappable:
    """Draw both maps, and return what their colours mean."""
    trials = _last(trials)
    shares = {"at the end": 1.0, "after a tenth of the run": EARLY}
    found = [v for share in shares.values() for t in trials.values() if (v := shown(t, share))]
    colours = Normalize(min(found, default=0), max(found, default=1))
    for axis, (title, share) in zip(axes, shares.items(), strict=True):
        _map(axis, search, trials, share, colours)
        axis.set_title(title)
    axes[1].set(ylabel="", yticks=[])
    return ScalarMappable(colours, COLOURS)


def _map(axis: Axes, search: Search, trials: Trials, share: float, colours: Normalize) -> None:
    across = _across(search)
    places = _places(trials, across)
    ordered = sorted(trials.values(), key=lambda tried: _order_of(search, tried))
    others = list(dict.fromkeys(label(search, t.values, across.name) for t in ordered))
    if max(len(places), len(others)) > CELLS:
        _points(axis, search, trials, share, colours)
        return
    for tried in trials.values():
        x = places.index(tried.values[across.name])
        y = others.index(label(search, tried.values, across.name))
        _cell(axis, (x, y), shown(tried, share), colours)
    turned = 90 if len(places) > TURNED else 0
    axis.set_xticks(range(len(places)), [_told(place) for place in places], rotation=turned)
    axis.set_yticks(range(len(others)), others)
    axis.set(xlim=(-0.5, len(places) - 0.5), ylim=(-0.5, len(others) - 0.5))
    axis.set(xlabel=across.short, ylabel=_rest(search))


def _cell(axis: Axes, at: tuple[int, int], value: float | None, colours: Normalize) -> None:
    if value is None:
        axis.text(*at, "×", ha="center", va="center", color=BAD, size=16)  # noqa: RUF001
        return
    ink = "white" if colours(value) < 0.6 else "black"
    corner = (at[0] - 0.5, at[1] - 0.5)
    axis.add_patch(Rectangle(corner, 1, 1, color=COLOURS(colours(value))))
    axis.text(*at, f"{value:.3f}", ha="center", va="center", size=8, color=ink)


def _points(axis: Axes, search: Search, trials: Trials, share: float, colours: Normalize) -> None:
    """Draw trials over two ranges; those in which the vertical one is not active stand below.

    The horizontal one is always active; where there is none such, it is the trials' order.
    """
    ranged = [d for d in search.trainer.space if d.low is not None]
    across = next((d for d in reversed(ranged) if d.when is None), None)
    up = next((d for d in ranged if d is not across), None)
    beside: dict[str, float] = {}
    for number, tried in trials.items():
        x: Any = tried.values[across.name] if across else number
        y: Any = tried.values.get(up.name) if up else None
        if y is None:
            name = label(search, tried.values, across.name if across else "")
            y = beside.setdefault(name, _below(up, 1 + len(beside)))
        value = shown(tried, share)
        if value is None:
            axis.plot(x, y, "x", color=BAD, ms=8)
        else:
            axis.scatter([x], [y], c=[value], norm=colours, cmap=COLOURS, edgecolors="gray")
    for name, y in beside.items():
        axis.axhline(y, color="gray", lw=0.5, ls=":")
        axis.annotate(name, (0.01, y), xycoords=("axes fraction", "data"), size=8, va="bottom")
    axis.set(xlabel=across.short if across else "trial", ylabel=up.short if up else "")
    axis.set(xscale=_scale(across), yscale=_scale(up))


def _below(up: Dimension | None, rank: int) -> float:
    """Return where trials stand in which the vertical dimension is not active."""
    if up is None or up.low is None or up.high is None:
        return -float(rank)
    return up.low / 3.0**rank if up.log else up.low - rank * (up.high - up.low) / 8


def _scale(dimension: Dimension | None) -> str:
    return "log" if dimension and dimension.log else "linear"


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
        name = label(search, tried.values, _across(search).name)
        steps = range(1, len(mean) + 1)
        style = "-" if ranged.name in tried.values else "--"
        axis.plot(steps, mean, style, color=colour, lw=1.2, label=name)
        finite = [k for k, value in enumerate(mean) if isfinite(value)]
        if tried.diverged and finite:
            axis.plot(finite[-1] + 1, mean[finite[-1]], "x", color=BAD, ms=8)
    axis.grid(alpha=0.25)


def _across(search: Search) -> Dimension:
    """Return the last dimension that is always active, of which each trial has a value."""
    return next(d for d in reversed(search.trainer.space) if d.when is None)


def _last(trials: Trials) -> Trials:
    """Return the last one of the trials that have the same values; Hyperband goes on with some."""
    numbers = {
        json.dumps({k: v for k, v in trials[n].values.items() if not k.startswith(TUNER_PREFIX)}): n
        for n in sorted(trials)
    }
    return {number: trials[number] for number in numbers.values()}


def _places(trials: Trials, dimension: Dimension) -> list[Any]:
    """Return the trials' values of a dimension in order, each once."""
    values = [tried.values[dimension.name] for tried in trials.values()]
    return sorted({json.dumps(value): value for value in values}.values(), key=_order)


def _groups(trials: Trials, across: Dimension) -> dict[str, list[int]]:
    """Return the trials by their value of that dimension, or all where there are many."""
    places = _places(trials, across)
    if len(places) > PANELS:
        return {"all trials": sorted(trials)}
    return {
        f"{across.short} {_told(place)}": [
            number for number in sorted(trials) if trials[number].values[across.name] == place
        ]
        for place in places
    }


def _rest(search: Search) -> str:
    """Return what the vertical axis of a map is: every dimension that leads to no other."""
    parents = {d.when[0] for d in search.trainer.space if d.when}
    names = parents | {_across(search).name}
    return ", ".join(d.short for d in search.trainer.space if d.name not in names)


def _order_of(search: Search, tried: FinishedTrial) -> list[tuple[bool, float, str]]:
    others = [d for d in reversed(search.trainer.space) if d is not _across(search)]
    return [_order(tried.values.get(d.name)) for d in others]


def _order(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float)
    return (not number, value if number else 0.0, json.dumps(value))


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
