"""The results of a benchmark as text tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

MEASURES = {
    "steps": "training steps alone",
    "interval": "whole intervals: training steps, evaluation and saving",
}
HARNESS = "harness"  # the names of the harness's own ways begin with it


def render(benchmark: Mapping[str, Any], style: str = "simple") -> str:
    """Return all tables of a benchmark, each under a line that describes it."""
    parts = []
    for name, network in benchmark["networks"].items():
        size = f"{network['steps']} steps of {network['batch_size']} images a round"
        for measure, description in MEASURES.items():
            table = rounds(network, measure, benchmark["matrix_rates"], style)
            parts.append(f"{name}, {description} ({size})\n\n{table}")
    parts.append(f"start-up, seconds\n\n{startup(benchmark['startup'], style)}")
    return "\n\n".join(parts)


def rounds(
    network: Mapping[str, Any], measure: str, matrix_rates: Mapping[str, float], style: str
) -> str:
    """Return a row for each way: its rate, its memory, and how the harness compares.

    A ratio is how many times as fast the column's harness was: the median over rounds with its
    quartiles, then the ratio of the total times.
    """
    summary, steps_only = network["summary"][measure], measure == "steps"
    harnesses = [name for name in summary if name.startswith(HARNESS)]
    rows = []
    for name, row in summary.items():
        cells = [name, _spread(row["rate"], "{:.0f}")]
        if steps_only:
            cells.append(_share(network, name, row["rate"]["median"], matrix_rates))
        cells.append(_memory(network["memory"][name]))
        rows.append([*cells, *(_ratio(row["ratios"].get(harness)) for harness in harnesses)])
    headers = ["", "images/s", *["of matrix rate"] * steps_only, "GB"]
    headers += [f"{name}, times" for name in harnesses]
    return tabulate(rows, headers, style, disable_numparse=True)


def overview(benchmark: Mapping[str, Any], style: str = "simple") -> str:
    """Return a row for each way: its rate on each network, and how the first harness compares.

    Rates are those of the training steps alone; ratios are of the steps and of whole intervals.
    """
    networks, headers = benchmark["networks"], [f"way of training, {benchmark['device']}"]
    rows: dict[str, list[str]] = {}
    for name, network in networks.items():
        steps, interval = (network["summary"][measure] for measure in MEASURES)
        first = next((way for way in steps if way.startswith(HARNESS)), "")
        headers += [f"{name}: images/s", f"{first}: times, steps", "intervals"]
        for way, row in steps.items():
            ratios = (summary[way]["ratios"].get(first) for summary in (steps, interval))
            cells = [_spread(ratio, "{:.2f}") if ratio else "" for ratio in ratios]
            rows.setdefault(way, [way]).extend([f"{row['rate']['median']:.0f}", *cells])
    return tabulate([*rows.values()], headers, style, disable_numparse=True)


def startup(seconds: Mapping[str, Any], style: str = "simple") -> str:
    """Return the seconds until ``--list`` is printed, and until the first step of two ways."""
    ratio = f"{seconds['harness'] / seconds['fit']:.2f}"
    times = (f"{seconds[name]:.2f}" for name in ("list", "harness", "fit"))
    headers = ("backend", "--list", "first step", "of a bare fit", "ratio")
    return tabulate([(seconds["backend"], *times, ratio)], headers, style, disable_numparse=True)


def _share(
    network: Mapping[str, Any], name: str, images: float, matrix_rates: Mapping[str, float]
) -> str:
    """Return the share of the backend's matrix rate that ``images`` per second amount to."""
    flops_per_image = network["flops"] / network["batch_size"]
    return f"{100 * flops_per_image * images / matrix_rates[network['backends'][name]]:.0f} %"


def _memory(peak: Mapping[str, int]) -> str:
    return ", ".join(f"{size / 1e9:.1f} of {place}" for place, size in peak.items())


def _ratio(ratio: Mapping[str, float] | None) -> str:
    return f"{_spread(ratio, '{:.2f}')}, {ratio['overall']:.2f}" if ratio else ""


def _spread(values: Mapping[str, float], number_format: str) -> str:
    median, low, high = (number_format.format(values[name]) for name in ("median", "low", "high"))
    return f"{median} ({low} to {high})"
