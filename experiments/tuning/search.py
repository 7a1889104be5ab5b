"""A search as data, where it is stored, and its finished trials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.harness.spec import identity
from experiments.tuning.trial import Outcome, TrialTrainer


@dataclass(frozen=True)
class Search:
    """All that decides a search's trials and their outcomes.

    ``trials`` is the maximum number of trials, for oracles that do not end by themselves.
    """

    trainer: TrialTrainer
    oracle: str
    trials: int

    @property
    def initial_trials(self) -> int:
        """The number of random trials at the start of a Bayesian search, KerasTuner's default."""
        return 3 * len(self.trainer.space)

    def to_json(self) -> dict[str, Any]:
        """Return all that decides the outcomes, as JSON types."""
        template = self.trainer.template
        payload = {
            "oracle": self.oracle,
            "trials": self.trials,
            "objective": self.trainer.objective,
            "executions": self.trainer.executions,
            "space": [dimension.to_json() for dimension in self.trainer.space],
            "home": template.arm_id,
            "scale": template.scale,
            "run": identity.identity_of(template),
        }
        return json.loads(json.dumps(payload))

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of ``to_json()``, in hexadecimal."""
        return identity.json_digest(self.to_json())


@dataclass(frozen=True)
class SearchLocation:
    """What does not decide outcomes: the directory of search and runs, and the data's source.

    ``telemetry_every`` is that of ``TrainOptions``.
    """

    directory: Path
    source: str
    telemetry_every: int | None = None


@dataclass(frozen=True)
class FinishedTrial:
    """A trial's values, by the dimensions' names, and its outcome."""

    values: Mapping[str, Any]
    outcome: Outcome

    @property
    def diverged(self) -> bool:
        """Whether any of the trial's runs diverged."""
        return self.outcome.has_diverged


Trials = Mapping[int, FinishedTrial]
