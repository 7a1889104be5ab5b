"""The journal of a search: its finished trials, as a file from which the search resumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from experiments.harness.runtime import filesystem
from experiments.harness.spec import UserError, identity
from experiments.tuning.search import FinishedTrial, Search, Trials
from experiments.tuning.trial import Outcome, rescore

FILE_NAME = "trials.json"


def directory_of(search: Search, root: Path) -> Path:
    """Return the directory of the search's own files; the runs are in its subdirectories."""
    template = search.trainer.template
    return root / template.experiment / template.scale


def clear(directory: Path) -> None:
    """Delete the journal, and nothing else."""
    (directory / FILE_NAME).unlink(missing_ok=True)


def write(search: Search, trials: Trials, directory: Path) -> None:
    """Write the journal."""
    payload = {"search": search.to_json(), "trials": {n: asdict(trials[n]) for n in sorted(trials)}}
    filesystem.write_atomic(directory / FILE_NAME, json.dumps(payload, indent=1) + "\n")


def read(search: Search, directory: Path) -> dict[int, FinishedTrial]:
    """Return the finished trials by number, none if there is no journal.

    Raises ``UserError`` for a damaged journal, and for that of another search.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return {}
    try:
        payload = json.loads(path.read_text())
        outcomes = {n: Outcome(**t["outcome"]) for n, t in payload["trials"].items()}
        trials = {
            int(n): FinishedTrial(t["values"], rescore(outcomes[n], search.trainer.objective))
            for n, t in payload["trials"].items()
        }
        differences = identity.differences(payload["search"], search.to_json())
    except (OSError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); --fresh starts over") from None
    if differences:
        shown = "; ".join(f"{name} ({was} there, {now} here)" for name, was, now in differences[:3])
        same_data = any(name == "run.dataset" for name, *_ in differences)
        remedy = "give the same --data, " * same_data + "choose another --name, or use --fresh"
        raise UserError(f"{path} belongs to another search: {shown}; {remedy}")
    return trials


def merge(search: Search, directories: Sequence[Path]) -> dict[int, FinishedTrial]:
    """Return the finished trials of a search's shards; ``UserError`` if two shards disagree."""
    merged: dict[int, FinishedTrial] = {}
    for directory in directories:
        if not (directory / FILE_NAME).exists():
            raise UserError(f"{directory} holds no search: it has no {FILE_NAME}")
        for number, trial in read(search, directory).items():
            if merged.setdefault(number, trial) != trial:
                raise UserError(f"{directory}: trial {number} differs from that of another shard")
    return merged
