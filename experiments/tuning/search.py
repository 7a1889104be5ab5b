"""What a search is, as data; and what it has tried, in its folder.

``trials.json`` is the journal: from it a search goes on, and all else is made of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.harness.spec import identity
from experiments.tuning.trial import Outcome, TrialTrainer


@dataclass(frozen=True)
class Search:
    """What decides a search's trials and their outcomes.

    ``trials`` is their number at most, for oracles that have no end of their own.
    """

    trainer: TrialTrainer
    oracle: str
    trials: int

    @property
    def initial(self) -> int:
        """The number of random trials that a Bayesian search begins with, as KerasTuner has it."""
        return 3 * len(self.trainer.space)

    def to_json(self) -> dict[str, Any]:
        """Return all that decides its outcomes, as JSON types."""
        template = self.trainer.template
        told = {
            "oracle": self.oracle,
            "trials": self.trials,
            "objective": self.trainer.objective,
            "executions": self.trainer.executions,
            "space": [asdict(dimension) for dimension in self.trainer.space],
            "home": template.arm_id,
            "scale": template.scale,
            "run": identity.identity_of(template),
        }
        return json.loads(json.dumps(told))

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of what it tells, in hexadecimal."""
        return identity.json_digest(self.to_json())


@dataclass(frozen=True)
class SearchLocation:
    """Where and on what trials are trained: the same search gives the same elsewhere.

    ``directory`` is the search's, with its trials' runs in it.
    """

    directory: Path
    source: str
    telemetry: int | None = None


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that has ended: its values by the dimensions' names, and what it came to."""

    values: Mapping[str, Any]
    outcome: Outcome

    @property
    def diverged(self) -> bool:
        """Whether any of the trial's runs diverged."""
        return any(step is not None for step in self.outcome.diverged)


Trials = Mapping[int, FinishedTrial]
