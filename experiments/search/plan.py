"""What a search is, as data; and what it has tried, in its folder.

``trials.json`` is the journal: from it a search goes on, and all else is made of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.harness import files, fingerprint, record
from experiments.harness.spec import UserError
from experiments.search.trial import Outcome, Trainer

JOURNAL = "trials.json"


@dataclass(frozen=True)
class Search:
    """What decides a search's trials and their outcomes.

    ``trials`` is their number at most, for oracles that have no end of their own.
    """

    trainer: Trainer
    oracle: str
    trials: int

    @property
    def initial(self) -> int:
        """The number of random trials that a Bayesian search begins with, as KerasTuner has it."""
        return 3 * len(self.trainer.space)

    def told(self) -> dict[str, Any]:
        """Return all that decides its outcomes, as JSON types."""
        template = self.trainer.template
        told = {
            "oracle": self.oracle,
            "trials": self.trials,
            "objective": self.trainer.objective,
            "executions": self.trainer.executions,
            "space": [asdict(dimension) for dimension in self.trainer.space],
            "home": template.home,
            "scale": template.scale,
            "run": record.identity(template),
        }
        return json.loads(json.dumps(told))

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of what it tells, in hexadecimal."""
        return fingerprint.of_json(self.told())


@dataclass(frozen=True)
class Place:
    """Where and on what trials are trained: the same search gives the same elsewhere.

    ``directory`` is the search's, with its trials' runs in it.
    """

    directory: Path
    source: str
    telemetry: int | None = None


@dataclass(frozen=True)
class Tried:
    """A trial that has ended: its values by the dimensions' names, and what it came to."""

    values: Mapping[str, Any]
    outcome: Outcome

    @property
    def diverged(self) -> bool:
        """Whether any of the trial's runs diverged."""
        return any(step is not None for step in self.outcome.diverged)


Trials = Mapping[int, Tried]


def folder_of(search: Search, directory: Path) -> Path:
    """Return where the search's own files are; its runs are in the folder's neighbours."""
    template = search.trainer.template
    return directory / template.experiment / template.scale


def clear(folder: Path) -> None:
    """Delete the journal, and nothing else."""
    (folder / JOURNAL).unlink(missing_ok=True)


def write(search: Search, trials: Trials, folder: Path) -> None:
    """Write the journal."""
    told = {"search": search.told(), "trials": {n: asdict(trials[n]) for n in sorted(trials)}}
    files.write(folder / JOURNAL, json.dumps(told, indent=1) + "\n")


def read(search: Search, folder: Path) -> dict[int, Tried]:
    """Return what the search has tried, nothing where there is no journal.

    Raises ``UserError`` for a damaged one, and for another search's.
    """
    path = folder / JOURNAL
    if not path.exists():
        return {}
    try:
        told = json.loads(path.read_text())
        trials = {int(n): Tried(t["values"], Outcome(**t["outcome"]))
                  for n, t in told["trials"].items()}  # fmt: skip
        unlike = record.differences(told["search"], search.told())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); --fresh starts over") from None
    if unlike:
        facts = "; ".join(f"{name} ({was} there, {now} here)" for name, was, now in unlike[:3])
        raise UserError(f"{path} is another search's: {facts}; --name another, or use --fresh")
    return trials


def joined(search: Search, folders: Sequence[Path]) -> dict[int, Tried]:
    """Return what the search's shards have tried; ``UserError`` where two disagree."""
    trials: dict[int, Tried] = {}
    for folder in folders:
        if not (folder / JOURNAL).exists():
            raise UserError(f"{folder} holds no search: there is no {JOURNAL} in it")
        for number, tried in read(search, folder).items():
            if trials.setdefault(number, tried) != tried:
                raise UserError(f"{folder}: trial {number} is another than in a folder before it")
    return trials
