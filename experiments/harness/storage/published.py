"""The fingerprint chains of published runs, and how a run compares with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from experiments.harness.runtime import filesystem
from experiments.harness.spec import Run, identity

FOLDER = Path(__file__).parents[2] / "records" / "chains"
DIGITS = 16  # of each link
COMPARABLE = ("identity", "seed", "dataset")  # equal for runs that differ in environment only


@dataclass(frozen=True)
class Comparison:
    """How a run compares with the published ones of its arm, seed and dataset.

    ``environments`` are those of the published runs. ``intervals`` is the number of intervals that
    both the run and one published for its own environment have, 0 if there is none; ``differs_at``
    is the first of which the links differ, None if all are equal.
    """

    run: Run
    environments: Sequence[Mapping[str, Any]]
    intervals: int = 0
    differs_at: int | None = None


def compare(run: Run, folder: Path) -> Comparison:
    """Compare a run with the ones published in ``folder``."""
    row = _row(run)
    environments: list[Mapping[str, Any]] = []
    comparison = Comparison(run, environments)
    for entry in load(folder):
        for other in entry["runs"]:
            if all(row[name] == other[name] for name in COMPARABLE):
                environments.append(entry["environment"])
                here = identity.known_to(entry["environment"], run.spec.environment)
                if here == entry["environment"]:
                    comparison = _compare_chains(comparison, other)
    return comparison


def _compare_chains(comparison: Comparison, published: Mapping[str, Any]) -> Comparison:
    run, first = comparison.run, published["first"]
    links = [link[:DIGITS] for link in run.chain[first:]]
    pairs = list(zip(links, published["chain"].split(), strict=False))
    if not pairs:
        return comparison
    differs_at = next((first + number for number, (a, b) in enumerate(pairs) if a != b), None)
    return Comparison(run, comparison.environments, first + len(pairs) - 1, differs_at)


@cache
def load(folder: Path) -> list[dict[str, Any]]:
    """Return the published runs of each environment."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def publish(runs: Sequence[Run], folder: Path) -> Path:
    """Add runs of one experiment, scale and environment to those published; return the file.

    Of two chains of a run the one that ends later is kept.
    """
    spec = runs[0].spec
    key = identity.json_digest(spec.environment)[:8]
    path = folder / f"{spec.experiment}-{spec.scale}-{key}.json"
    old = json.loads(path.read_text())["runs"] if path.exists() else []
    by_length = sorted([*old, *map(_row, runs)], key=_intervals)
    rows = {json.dumps([row[name] for name in COMPARABLE]): row for row in by_length}
    ordered = sorted(rows.values(), key=lambda row: (row["dataset"], row["arm"], row["seed"]))
    folder.mkdir(exist_ok=True)
    entry = {"environment": spec.environment, "runs": ordered}
    filesystem.write_atomic(path, json.dumps(entry, indent=1) + "\n")
    load.cache_clear()
    return path


def _intervals(row: Mapping[str, Any]) -> int:
    return int(row["first"]) + len(row["chain"].split()) - 1


def _row(run: Run) -> dict[str, Any]:
    """Return a run as it is published; ``chain`` holds the links from interval ``first`` on."""
    spec = run.spec
    return {
        "arm": spec.arm_id,
        "identity": identity.json_digest(spec.arm.identity())[:DIGITS],
        "seed": spec.seed,
        "dataset": spec.dataset["sha256"],
        "first": 0,
        "chain": " ".join(link[:DIGITS] for link in run.chain),
    }
