"""Rates and ratios from the times of rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any

from experiments.benchmarks.rounds import RoundResult
from experiments.harness.reporting.benchmark_tables import HARNESS, MEASURES


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the quartiles of the values."""
    low, _, high = quantiles(values, method="inclusive") if len(values) > 1 else [*values] * 3
    return {"median": median(values), "low": low, "high": high}


def seconds(rounds: Sequence[RoundResult]) -> dict[str, list[float]]:
    """Return the seconds of each round by measure, rounded to milliseconds."""
    return {
        measure: [round(value, 3) for value in _values(rounds, measure)] for measure in MEASURES
    }


def summarize(results: Mapping[str, Sequence[RoundResult]], images: int) -> dict[str, Any]:
    """Return, by measure and competitor, the images per second and how the harness compares.

    ``results`` are the rounds by competitor; each round trains on ``images`` images. ``ratios``
    maps a harness to how many times as fast it was, round by round; ``overall`` is the ratio of
    the total times.
    """
    return {
        measure: {
            name: {
                "rate": spread([images / value for value in _values(rounds, measure)]),
                "ratios": {
                    harness: _ratio(_values(rounds, measure), _values(results[harness], measure))
                    for harness in results
                    if harness.startswith(HARNESS) and harness != name
                },
            }
            for name, rounds in results.items()
        }
        for measure in MEASURES
    }


def _values(rounds: Sequence[RoundResult], measure: str) -> list[float]:
    return [getattr(result, measure) for result in rounds]


def _ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return spread(ratios) | {"overall": sum(theirs) / sum(ours)}
