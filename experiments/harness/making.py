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

from experiments.harness import files, record, state
from experiments.harness.data import Dataset
from experiments.harness.spec import Run
from experiments.harness.together import grouping

Tell = Callable[[str], None]


def made(
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
    directory = record.directory_of(run, logdir)
    if time.monotonic() >= deadline and not begin:
        return found_of(run, logdir, tell) or run
    with files.owned(directory):
        found = found_of(run, logdir, tell)
        if found and _reaches(found, intervals):
            tell(f"{directory} holds this run; --fresh would repeat it")
            return found
        from experiments.harness.training import train  # imports keras: only where it is needed

        return train(
            _begun(run, found, tell),
            directory,
            dataset,
            intervals=intervals,
            deadline=deadline,
            telemetry=telemetry,
            verbose=verbose,
            tell=tell,
        )


def made_together(
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
    planned = {record.directory_of(run, logdir): run for run in group}
    if time.monotonic() >= deadline and not begin:
        return {path: found_of(run, logdir, tell) or run for path, run in planned.items()}
    with ExitStack() as owned:
        for directory in planned:
            owned.enter_context(files.owned(directory))
        found = {path: found_of(run, logdir, tell) for path, run in planned.items()}
        made = {path: run for path, run in found.items() if run and _reaches(run, intervals)}
        for directory in made:
            tell(f"{directory} holds this run; --fresh would repeat it")
        how: dict[str, Any] = {"intervals": intervals, "deadline": deadline, "tell": tell}
        for part in _abreast({path: _came(path) for path in planned if path not in made}):
            if not begin and time.monotonic() >= deadline:
                break
            from experiments.harness.together.training import train  # imports keras

            manner = group[0].environment[grouping.FIELD]
            runs = f"{len(part)} run{'s' * (len(part) > 1)}"
            tell(f"{runs} {'in turn' if manner == grouping.IN_TURN else 'at once'}")
            begun = [_begun(planned[path], found[path], tell) for path in part]
            made |= zip(part, train(begun, part, dataset, **how, **options), strict=True)
            begin = False
    return {
        path: replace(made.get(path) or found[path] or run, arm=run.arm)
        for path, run in planned.items()
    }


def _came(directory: Path) -> int:
    """Return to which interval a run came: not by its record, which may tell of a lost state."""
    newest, _ = state.newest(directory / "state")
    return newest.interval if newest else 0


def _abreast(came: Mapping[Path, int]) -> list[list[Path]]:
    """Return directories in parts, by the intervals to which they came, the least first.

    Those of a part are an interval apart at most: no more is trained once more.
    """
    parts: list[list[Path]] = []
    for path in sorted(came, key=lambda path: came[path]):
        if not parts or came[path] > came[parts[-1][0]] + 1:
            parts.append([])
        parts[-1].append(path)
    return parts


def found_of(run: Run, logdir: Path, tell: Tell = print) -> Run | None:
    """Return what there is of a planned run; ``UserError`` where its directory is another's."""
    directory = record.directory_of(run, logdir)
    if (found := record.load(directory, tell)) is None:
        return None
    record.check_same(found, run, directory)
    return replace(found, arm=run.arm)


def unmade(runs: Iterable[Run], logdir: Path, intervals: int | None = None) -> list[Path]:
    """Return the directories of the planned runs that are still to be made, in order."""
    planned = {record.directory_of(run, logdir): run for run in runs}
    return [
        directory
        for directory, run in planned.items()
        if not ((found := found_of(run, logdir, lambda _: None)) and _reaches(found, intervals))
    ]


def _begun(run: Run, found: Run | None, tell: Tell) -> Run:
    """Return a planned run as it is when its training begins, or goes on where it was ``found``."""
    commit, started = record.commit(), datetime.now(UTC).isoformat(timespec="seconds")
    if found and found.commit != commit:
        tell(f"begun by commit {found.commit}, going on with {commit}")
    return replace(run, started=found.started if found else started, commit=commit)


def _reaches(run: Run, intervals: int | None) -> bool:
    """Return whether a run was brought to its end, or at least to as many intervals."""
    enough = intervals is not None and run.intervals >= intervals
    return run.status == "complete" or (run.status == "partial" and enough)
