"""The journal of a search: the trials that have finished."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from experiments.harness.runtime import filesystem
from experiments.harness.spec import UserError, identity
from experiments.tuning.search import FinishedTrial, Search, Trials
from experiments.tuning.trial import Outcome

FILE_NAME = "trials.json"


def directory(search: Search, directory: Path) -> Path:
    """Return where the search's own files are; its runs are in the folder's neighbours."""
    template = search.trainer.template
    return directory / template.experiment / template.scale


def clear(folder: Path) -> None:
    """Delete the journal, and nothing else."""
    (folder / FILE_NAME).unlink(missing_ok=True)


def write(search: Search, trials: Trials, folder: Path) -> None:
    """Write the journal."""
    told = {"search": search.to_json(), "trials": {n: asdict(trials[n]) for n in sorted(trials)}}
    filesystem.write_atomic(folder / FILE_NAME, json.dumps(told, indent=1) + "\n")


def read(search: Search, folder: Path) -> dict[int, FinishedTrial]:
    """Return what the search has tried, nothing where there is no journal.

    Raises ``UserError`` for a damaged one, and for another search's.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return {}
    try:
        told = json.loads(path.read_text())
        trials = {int(n): FinishedTrial(t["values"], Outcome(**t["outcome"]))
                  for n, t in told["trials"].items()}  # fmt: skip
        unlike = identity.differences(told["search"], search.to_json())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); --fresh starts over") from None
    if unlike:
        facts = "; ".join(f"{name} ({was} there, {now} here)" for name, was, now in unlike[:3])
        raise UserError(f"{path} is another search's: {facts}; --name another, or use --fresh")
    return trials


def merge(search: Search, folders: Sequence[Path]) -> dict[int, FinishedTrial]:
    """Return what the search's shards have tried; ``UserError`` where two disagree."""
    trials: dict[int, FinishedTrial] = {}
    for folder in folders:
        if not (folder / FILE_NAME).exists():
            raise UserError(f"{folder} holds no search: there is no {FILE_NAME} in it")
        for number, tried in read(search, folder).items():
            if trials.setdefault(number, tried) != tried:
                raise UserError(f"{folder}: trial {number} is another than in a folder before it")
    return trials
