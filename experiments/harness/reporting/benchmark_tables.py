"""What a benchmark came to, as tables of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

MEASURES = {
    "steps": "training steps alone",
    "interval": "whole intervals: the steps, the evaluation after them, and what is kept",
}
HARNESS = "harness"  # what the names of the harness's own ways begin with


def render(benchmark: Mapping[str, Any], style: str = "simple") -> str:
    """Return all of a benchmark's tables, each under a line that says what it is."""
    rates = benchmark["matrix_rates"]
    parts = []
    for name, network in benchmark["networks"].items():
        work = f"{network['steps']} steps of {network['batch_size']} images"
        for measure, what in MEASURES.items():
            parts.append(
                f"{name}, {what} ({work} a round)\n\n{rounds(network, measure, rates, style)}"
            )
    parts.append(f"start-up, seconds\n\n{startup(benchmark['startup'], style)}")
    return "\n\n".join(parts)


def rounds(
    network: Mapping[str, Any], measure: str, matrix_rates: Mapping[str, float], style: str
) -> str:
    """Return a line for each way of training: its rate, memory, and how the harness compares.

    A ratio is how many times as fast the column's harness was: the median over rounds and its
    quartiles, then of all rounds' time together, with what it does only once in ten.
    """
    found, alone = network["summary"][measure], measure == "steps"
    ours = [name for name in found if name.startswith(HARNESS)]
    lines = [
        (
            name,
            _spread(of["rate"], "{:.0f}"),
            *([_share(network, name, of["rate"]["median"], matrix_rates)] * alone),
            _memory(network["memory"][name]),
            *(_ratio(of["ratios"].get(harness)) for harness in ours),
        )
        for name, of in found.items()
    ]
    headers = ["", "images/s", *["of matrix rate"] * alone, "GB"]
    headers += [f"{name}, times" for name in ours]
    return tabulate(lines, headers, style, disable_numparse=True)


def overview(benchmark: Mapping[str, Any], style: str = "simple") -> str:
    """Return a line for each way, with each network's rate and how the first harness compares.

    Rates are those of the training steps alone; ratios of these, and of whole intervals.
    """
    networks, headers = benchmark["networks"], [f"way of training, {benchmark['device']}"]
    lines: dict[str, list[str]] = {}
    for name, network in networks.items():
        steps, interval = (network["summary"][measure] for measure in MEASURES)
        first = next((way for way in steps if way.startswith(HARNESS)), "")
        headers += [f"{name}: images/s", f"{first}: times, steps", "intervals"]
        for way, of in steps.items():
            ratios = (found[way]["ratios"].get(first) for found in (steps, interval))
            cells = [_spread(ratio, "{:.2f}") if ratio else "" for ratio in ratios]
            lines.setdefault(way, [way]).extend([f"{of['rate']['median']:.0f}", *cells])
    return tabulate([*lines.values()], headers, style, disable_numparse=True)


def startup(seconds: Mapping[str, Any], style: str = "simple") -> str:
    """Return the seconds until a list, and until a first training step by two ways."""
    ratio = f"{seconds['harness'] / seconds['fit']:.2f}"
    times = (f"{seconds[name]:.2f}" for name in ("list", "harness", "fit"))
    headers = ("backend", "--list", "first step", "of a bare fit", "ratio")
    return tabulate([(seconds["backend"], *times, ratio)], headers, style, disable_numparse=True)


def _share(
    network: Mapping[str, Any], name: str, images: float, matrix_rates: Mapping[str, float]
) -> str:
    """Return the share of its backend's matrix rate that a way's training steps come to."""
    each = network["flops"] / network["batch_size"]
    return f"{100 * each * images / matrix_rates[network['backends'][name]]:.0f} %"


def _memory(peak: Mapping[str, int]) -> str:
    return ", ".join(f"{size / 1e9:.1f} of {where}" for where, size in peak.items())


def _ratio(ratio: Mapping[str, float] | None) -> str:
    return f"{_spread(ratio, '{:.2f}')}, {ratio['overall']:.2f}" if ratio else ""


def _spread(values: Mapping[str, float], form: str) -> str:
    median, low, high = (form.format(values[name]) for name in ("median", "low", "high"))
    return f"{median} ({low} to {high})"
