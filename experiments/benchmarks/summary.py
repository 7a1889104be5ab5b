"""From seconds to rates and ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any

from experiments.harness.reporting.benchmark_tables import HARNESS, MEASURES


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median of the values and their quartiles."""
    low, _, high = quantiles(values, method="inclusive") if len(values) > 1 else [*values] * 3
    return {"median": median(values), "low": low, "high": high}


def columns(rounds: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Return the seconds of each round, to the millisecond, by measure."""
    return {measure: [round(took[measure], 3) for took in rounds] for measure in MEASURES}


def summary(told: Mapping[str, Sequence[Mapping[str, Any]]], images: int) -> dict[str, Any]:
    """Return for each measure and peer its rate in images a second, and what others' are of it.

    ``told`` maps a peer to what each round took it, ``images`` are trained on in a round.
    ``ratios`` maps a harness to how many times as fast it was, round by round, with its whole
    time by the other's as ``overall``.
    """
    return {
        measure: {
            peer: {
                "rate": spread([images / took[measure] for took in rounds]),
                "ratios": {
                    harness: _ratio(rounds, told[harness], measure)
                    for harness in told
                    if harness.startswith(HARNESS) and harness != peer
                },
            }
            for peer, rounds in told.items()
        }
        for measure in MEASURES
    }


def _ratio(
    other: Sequence[Mapping[str, float]], ours: Sequence[Mapping[str, float]], measure: str
) -> dict[str, float]:
    theirs, own = ([took[measure] for took in rounds] for rounds in (other, ours))
    ratios = [a / b for a, b in zip(theirs, own, strict=True)]
    return spread(ratios) | {"overall": sum(theirs) / sum(own)}
