"""How a study's runs compare with the published ones, as text and as JSON types."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from experiments.harness.reporting import labels, records, tables
from experiments.harness.reporting.result import Result
from experiments.harness.runtime import cpu
from experiments.harness.spec import identity
from experiments.harness.storage import published
from experiments.harness.storage.published import Comparison
from experiments.harness.storage.run_directory import directory_of


def compare(result: Result) -> tuple[str, list[dict[str, Any]]]:
    """Compare the runs of a result with the published ones; return the text and a row a run.

    A run differs if ``differs_at`` of its row is not None.
    """
    comparisons = [published.compare(run, published.FOLDER) for run in result.runs]
    rows = [
        {
            "arm": result.experiment.name_of(each.run.spec),
            "seed": each.run.spec.seed,
            "intervals": each.intervals,
            "differs_at": each.differs_at,
        }
        for each in comparisons
    ]
    return describe(comparisons, result), rows


def describe(comparisons: Sequence[Comparison], result: Result) -> str:
    """Return how the runs compare with the published ones; empty if none are comparable.

    If the environment has no published run, the measured values are shown beside those of the
    committed record of the same experiment and scale.
    """
    compared = [each for each in comparisons if each.intervals]
    differing = [each for each in compared if each.differs_at is not None]
    name_of = result.experiment.name_of
    lines = [
        f"{name_of(each.run.spec)}, seed {each.run.spec.seed}, differs from the published run of "
        f"the same environment at interval {each.differs_at}: python -m experiments.verify "
        f"{shlex.quote(str(directory_of(each.run.spec, result.logdir)))} finds the cause"
        for each in differing
    ]
    if compared and not differing:
        lines = [
            "identical to the published run: "
            + ", ".join(
                f"{name_of(each.run.spec)} seed {each.run.spec.seed} ({each.intervals} intervals)"
                for each in compared
            )
        ]
    if not compared and any(each.environments for each in comparisons):
        lines = [_unpublished(comparisons)]
        name = f"{labels.record_name(result.summary())}.json"
        lines += [_beside(result, each) for each in records.load(published.FOLDER.parent, name)]
    return "\n".join(lines)


def _unpublished(comparisons: Sequence[Comparison]) -> str:
    """Return the sentence about an environment that has no published run."""
    here = comparisons[0].run.spec.environment
    others = [environment for each in comparisons for environment in each.environments]
    backend = here["backend"]
    text = (
        f"this environment ({here['cpu']}, {backend} {here['versions'][backend]}) has no "
        "published run"
    )
    portable = [environment for environment in others if cpu.is_portable(environment)]
    if not portable:
        return text
    if not cpu.is_portable(here):
        return f"{text}; compare with --portable"
    lines = (
        f"{path} is {there} there, {ours} here"
        for path, there, ours in identity.differences(portable[0], here)
    )
    return f"{text}: {'; '.join(lines)}"


def _beside(result: Result, record: Mapping[str, Any]) -> str:
    """Return a table of the measured values beside the published ones, and their spread."""
    claims = {claim["claim"]: claim for claim in record["claims"]}
    rows = [
        (f"C{number}", *(tables.spread([*map(float, each["values"].values())]) for each in pair))
        for number, claim in enumerate(result.summary()["claims"], 1)
        if (pair := (claims.get(claim["claim"], {"values": {}}), claim))[0]["values"]
    ]
    return "\n" + tabulate(rows, ("", "published", "measured"), disable_numparse=True)
