"""A part of the planned runs, for machines that share nothing, and the parts put together."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from experiments.harness.runtime import filesystem
from experiments.harness.runtime.log import logger
from experiments.harness.spec import RunSpec, UserError
from experiments.harness.storage import run_directory, transfer
from experiments.harness.study import run_one
from experiments.harness.study.plan import Study


def select(studies: Sequence[Study], shard: tuple[int, int]) -> list[Study]:
    """Return the studies with every nth of their runs only, for the shard (i, n)."""
    index, count = shard
    distinct = _distinct(studies)
    if not (mine := {*distinct[index - 1 :: count]}):
        logger.info(f"there are {len(distinct)} runs, none of them in shard {index}/{count}")
    return _restrict(studies, lambda spec: run_directory.directory_of(spec, Path()) in mine)


def merge(
    studies: Sequence[Study], logdir: Path, shards: Sequence[Path], stop_after: int | None = None
) -> list[Study]:
    """Copy the finished runs of the shards to ``logdir``; return the studies with those there.

    ``shards`` are log directories. Raises ``UserError`` if two of them disagree.
    """
    specs = {
        run_directory.directory_of(spec, Path()): spec for each in studies for spec in each.specs
    }
    finished = {path for path, spec in specs.items() if _collect(spec, logdir, shards, stop_after)}
    if missing := len(specs) - len(finished):
        logger.info(f"{missing} of {len(specs)} runs are missing from these shards")
    return _restrict(studies, lambda spec: run_directory.directory_of(spec, Path()) in finished)


def _distinct(studies: Iterable[Study]) -> list[Path]:
    """Return the directories of all runs, each once, below the log directory."""
    specs = [spec for study in studies for spec in study.specs]
    return [*dict.fromkeys(run_directory.directory_of(spec, Path()) for spec in specs)]


def _restrict(studies: Sequence[Study], wanted: Callable[[RunSpec], bool]) -> list[Study]:
    """Return the studies with the wanted runs, without those that have none."""
    restricted = []
    for study in studies:
        specs = [spec for spec in study.specs if wanted(spec)]
        whole = study.covers_everything and len(specs) == len(study.specs)
        restricted.append(replace(study, specs=specs, covers_everything=whole))
    return [study for study in restricted if study.specs]


def _collect(spec: RunSpec, logdir: Path, shards: Sequence[Path], stop_after: int | None) -> bool:
    """Copy the longest run to ``logdir``; return whether a finished one is there now."""
    found: dict[Path, Sequence[str]] = {}  # chains, the run of ``logdir`` first
    for folder in (logdir, *shards):
        run = run_one.load_existing(spec, folder)
        directory = run_directory.directory_of(spec, folder)
        if not run or not run_one.is_finished(run, stop_after):
            continue
        for other, chain in found.items():
            if any(a != b for a, b in zip(run.chain, chain, strict=False)):
                raise UserError(f"{directory} and {other} have other fingerprints")
        found[directory] = run.chain
    longest = max(found, key=lambda directory: len(found[directory]), default=None)
    target = run_directory.directory_of(spec, logdir)
    if longest and longest != target:
        _copy(spec, longest, target)
    return longest is not None


def _copy(spec: RunSpec, source: Path, target: Path) -> None:
    """Replace the run in ``target`` by that in ``source``, whose record comes last."""
    with filesystem.lock_directory(target):
        run_directory.clear(spec, target)
        for path in sorted(source.iterdir(), key=lambda path: path.name == transfer.RECORD):
            if path.is_dir():
                shutil.copytree(path, target / path.name, dirs_exist_ok=True)
            elif path.name != filesystem.LOCK:
                shutil.copy2(path, target / path.name)
