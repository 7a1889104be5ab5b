"""One planned run, or a batch that shares a program: trained in this process, or loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from experiments.harness.data import sources
from experiments.harness.data.dataset import Dataset
from experiments.harness.runtime import filesystem, log
from experiments.harness.runtime.log import logger
from experiments.harness.spec import Run, RunSpec, batching, identity
from experiments.harness.storage import checkpoint, provenance, run_directory, run_record
from experiments.harness.training.options import TrainOptions


def train_or_load(
    spec: RunSpec,
    logdir: Path,
    dataset: Dataset,
    options: TrainOptions = TrainOptions(),  # noqa: B008 (frozen)
    patience: float = 0.0,
) -> Run:
    """Train a planned run, resume it, or load it if it is finished.

    Raises ``InUseError`` if another process still uses its directory after ``patience`` seconds.
    """
    directory = run_directory.directory_of(spec, logdir)
    with filesystem.lock_directory(directory, patience):
        found = load_existing(spec, logdir)
        if found and is_finished(found, options.stop_after):
            logger.info(f"already trained: {directory}; --fresh retrains it")
            return found
        from experiments.harness.training.trainer import train  # imports keras

        return train(_start(spec, found, directory), directory, dataset, options)


def train_or_load_batch(
    specs: Sequence[RunSpec],
    logdir: Path,
    dataset: Dataset,
    options: TrainOptions = TrainOptions(),  # noqa: B008 (frozen)
) -> list[Run]:
    """Train the unfinished runs of a batch as one program; return all runs, in order."""
    planned = {run_directory.directory_of(spec, logdir): spec for spec in specs}
    with ExitStack() as locks:
        for directory in planned:
            locks.enter_context(filesystem.lock_directory(directory))
        runs = {path: load_existing(spec, logdir) for path, spec in planned.items()}
        paths = [p for p, run in runs.items() if not (run and is_finished(run, options.stop_after))]
        for path in [path for path in planned if path not in paths]:
            logger.info(f"already trained: {path}; --fresh retrains it")
        if paths:
            from experiments.harness.training.batched.trainer import train  # imports keras

            how = specs[0].environment[batching.FIELD]
            count = f"{len(paths)} run{'s' * (len(paths) > 1)}"
            logger.info(f"{count} {'in turn' if how == batching.IN_TURN else 'at once'}")
            first = [_start(planned[path], runs[path], path) for path in paths]
            runs |= zip(paths, train(first, paths, dataset, options), strict=True)
        return [run for run in runs.values() if run]


def group_by_progress(specs: Iterable[RunSpec], logdir: Path) -> list[list[RunSpec]]:
    """Return the runs in groups that can train on together, the least trained first.

    The runs of a group are one interval apart at most, so that none repeats more than that.
    """
    progress = [(last_checkpoint(run_directory.directory_of(spec, logdir)), spec) for spec in specs]
    groups: list[list[RunSpec]] = []
    first = 0
    for interval, spec in sorted(progress, key=lambda each: each[0]):
        if not groups or interval > first + 1:
            groups.append([])
            first = interval
        groups[-1].append(spec)
    return groups


def last_checkpoint(directory: Path) -> int:
    """Return the interval of the newest valid checkpoint; the record may name a later one."""
    newest, _ = checkpoint.load_newest(directory / "state")
    return newest.interval if newest else 0


def load_existing(spec: RunSpec, logdir: Path) -> Run | None:
    """Return what exists of a planned run; ``UserError`` if its directory holds another run."""
    directory = run_directory.directory_of(spec, logdir)
    if (found := run_record.load(directory)) is None:
        return None
    environment = identity.known_to(found.spec.environment, spec.environment)
    spec = replace(spec, environment=environment)
    run_directory.check_same_run(found.spec, spec, directory, sources.recorded_source(found.spec))
    return replace(found, spec=spec)


def incomplete_runs(
    specs: Iterable[RunSpec], logdir: Path, stop_after: int | None = None
) -> list[RunSpec]:
    """Return the planned runs that are not finished, in order, each directory once."""
    planned = {run_directory.directory_of(spec, logdir): spec for spec in specs}
    with log.quiet(logging.WARNING):
        found = {path: load_existing(spec, logdir) for path, spec in planned.items()}
    return [
        spec
        for path, spec in planned.items()
        if not ((run := found[path]) and is_finished(run, stop_after))
    ]


def is_finished(run: Run, stop_after: int | None) -> bool:
    """Return whether a run is complete, or stopped after at least ``stop_after`` intervals."""
    far_enough = stop_after is not None and run.intervals >= stop_after
    return run.status == "complete" or (run.status == "partial" and far_enough)


def _start(spec: RunSpec, found: Run | None, directory: Path) -> Run:
    """Return a run as it is when its training starts or resumes."""
    commit, now = provenance.commit(), datetime.now(UTC).isoformat(timespec="seconds")
    if found and found.commit != commit:
        begin, here = provenance.describe(found.commit), provenance.describe(commit)
        logger.info(f"started by commit {begin}, resuming with {here}")
    if found is None:
        lost = (directory / "state").exists()  # its record was damaged
        return Run(spec, started=now, commit=commit, resumed=None if lost else 0)
    resumed = None if found.resumed is None else found.resumed + 1
    return Run(found.spec, started=found.started, commit=found.commit, resumed=resumed)
