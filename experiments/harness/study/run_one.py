"""Planned runs, made in this process: one, or a group together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.harness.data.dataset import Dataset
from experiments.harness.runtime import filesystem
from experiments.harness.spec import Run, batching
from experiments.harness.storage import checkpoint, provenance, run_directory, run_record

Tell = Callable[[str], None]


def train_or_load(
    run: Run,
    logdir: Path,
    dataset: Dataset,
    *,
    intervals: int | None = None,
    deadline: float = math.inf,
    begin: bool = False,
    telemetry: int | None = None,
    verbose: int = 0,
    tell: Tell = print,
) -> Run:
    """Make a planned run, or go on with it, or return it where it is made already.

    From ``deadline`` on it is returned as it stands, unless told to ``begin``. The rest is as for
    ``training.train``.
    """
    directory = run_directory.directory_of(run, logdir)
    if time.monotonic() >= deadline and not begin:
        return load_existing(run, logdir, tell) or run
    with filesystem.lock_directory(directory):
        found = load_existing(run, logdir, tell)
        if found and is_finished(found, intervals):
            tell(f"{directory} holds this run; --fresh would repeat it")
            return found
        from experiments.harness.training.trainer import train

        return train(
            _planned_start(run, found, tell),
            directory,
            dataset,
            intervals=intervals,
            deadline=deadline,
            telemetry=telemetry,
            verbose=verbose,
            tell=tell,
        )


def train_or_load_batch(
    group: Sequence[Run],
    logdir: Path,
    dataset: Dataset,
    *,
    intervals: int | None = None,
    deadline: float = math.inf,
    begin: bool = False,
    tell: Tell = print,
    **options: Any,
) -> dict[Path, Run]:
    """Make a group's runs together, or those of them that are not made; by their directories.

    From ``deadline`` on they are returned as they stand, unless told to ``begin``. ``options`` are
    those of ``together.training.train``.
    """
    planned = {run_directory.directory_of(run, logdir): run for run in group}
    if time.monotonic() >= deadline and not begin:
        return {path: load_existing(run, logdir, tell) or run for path, run in planned.items()}
    with ExitStack() as owned:
        for directory in planned:
            owned.enter_context(filesystem.lock_directory(directory))
        found = {path: load_existing(run, logdir, tell) for path, run in planned.items()}
        made = {path: run for path, run in found.items() if run and is_finished(run, intervals)}
        for directory in made:
            tell(f"{directory} holds this run; --fresh would repeat it")
        how: dict[str, Any] = {"intervals": intervals, "deadline": deadline, "tell": tell}
        for part in group_by_progress(
            {path: last_checkpoint(path) for path in planned if path not in made}
        ):
            if not begin and time.monotonic() >= deadline:
                break
            from experiments.harness.training.batched.trainer import train  # imports keras

            manner = group[0].environment[batching.FIELD]
            runs = f"{len(part)} run{'s' * (len(part) > 1)}"
            tell(f"{runs} {'in turn' if manner == batching.IN_TURN else 'at once'}")
            begun = [_planned_start(planned[path], found[path], tell) for path in part]
            made |= zip(part, train(begun, part, dataset, **how, **options), strict=True)
            begin = False
    return {
        path: replace(made.get(path) or found[path] or run, arm=run.arm)
        for path, run in planned.items()
    }


def last_checkpoint(directory: Path) -> int:
    """Return to which interval a run came: not by its record, which may tell of a lost state."""
    newest, _ = checkpoint.load_newest(directory / "state")
    return newest.interval if newest else 0


def group_by_progress(came: Mapping[Path, int]) -> list[list[Path]]:
    """Return directories in parts, by the intervals to which they came, the least first.

    Those of a part are an interval apart at most: no more is trained once more.
    """
    parts: list[list[Path]] = []
    for path in sorted(came, key=lambda path: came[path]):
        if not parts or came[path] > came[parts[-1][0]] + 1:
            parts.append([])
        parts[-1].append(path)
    return parts


def load_existing(run: Run, logdir: Path, tell: Tell = print) -> Run | None:
    """Return what there is of a planned run; ``UserError`` where its directory is another's."""
    directory = run_directory.directory_of(run, logdir)
    if (found := run_record.load(directory, tell)) is None:
        return None
    run_directory.check_same_run(found, run, directory)
    return replace(found, arm=run.arm)


def incomplete_runs(runs: Iterable[Run], logdir: Path, intervals: int | None = None) -> list[Path]:
    """Return the directories of the planned runs that are still to be made, in order."""
    planned = {run_directory.directory_of(run, logdir): run for run in runs}
    return [
        directory
        for directory, run in planned.items()
        if not (
            (found := load_existing(run, logdir, lambda _: None)) and is_finished(found, intervals)
        )
    ]


def _planned_start(run: Run, found: Run | None, tell: Tell) -> Run:
    """Return a planned run as it is when its training begins, or goes on where it was ``found``."""
    commit, started = provenance.commit(), datetime.now(UTC).isoformat(timespec="seconds")
    if found and found.commit != commit:
        tell(f"begun by commit {found.commit}, going on with {commit}")
    return replace(run, started=found.started if found else started, commit=commit)


def is_finished(run: Run, intervals: int | None) -> bool:
    """Return whether a run was brought to its end, or at least to as many intervals."""
    enough = intervals is not None and run.intervals >= intervals
    return run.status == "complete" or (run.status == "partial" and enough)
