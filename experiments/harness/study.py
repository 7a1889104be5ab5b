"""A study: chosen arms and seeds of an experiment, planned as runs and carried out one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.harness import files, record
from experiments.harness.data import Dataset
from experiments.harness.overrides import resolve
from experiments.harness.spec import Experiment, Run, Scale


def plan(
    experiment: Experiment,
    scale: Scale,
    *,
    arms: Iterable[str],
    seeds: Iterable[int],
    changes: Mapping[str, Any],
    dataset: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> list[Run]:
    """Return the runs to be made, seed by seed; ``UserError`` for an arm or change unknown."""
    chosen = {name: resolve(experiment, name, scale, changes) for name in arms}
    return [
        Run(experiment.name, name, arm, seed, scale, dataset, environment, changes)
        for seed in seeds
        for name, arm in chosen.items()
    ]


def carry_out(
    run: Run,
    logdir: Path,
    dataset: Dataset,
    *,
    intervals: int | None = None,
    fresh: bool = False,
    verbose: int = 0,
    tell: Callable[[str], None] = print,
) -> Run:
    """Make a planned run, or go on with it, or return it where it is made already.

    The rest is as for ``training.train``; ``fresh`` first deletes what the run's directory holds
    of a former one.
    """
    directory = record.directory_of(run, logdir)
    with files.owned(directory):
        if fresh:
            record.clear(directory)
        found = record.load(directory, tell)
        if found is not None:
            record.check_same(found, run, directory)
            if _reaches(found, intervals):
                tell(f"{directory} holds this run already; --fresh would repeat it")
                return found
            if found.commit != record.commit():
                tell(f"begun by commit {found.commit}, going on with {record.commit()}")
        from experiments.harness.training import train  # imports keras: only where it is needed

        started = found.started if found else datetime.now(UTC).isoformat(timespec="seconds")
        begun = replace(run, started=started, commit=record.commit())
        return train(begun, directory, dataset, intervals=intervals, verbose=verbose, tell=tell)


def _reaches(run: Run, intervals: int | None) -> bool:
    """Return whether a run was brought to its end, or at least to as many intervals."""
    enough = intervals is not None and run.intervals >= intervals
    return run.status == "complete" or (run.status == "partial" and enough)
