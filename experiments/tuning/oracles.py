"""KerasTuner's oracles, each with what makes it ``Exact``, over a search's space."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import keras_tuner as kt
from keras_tuner.engine.trial import Trial
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from experiments.harness.spec import search_space
from experiments.harness.spec.search_space import round_value
from experiments.tuning.objectives import COUNTED, OBJECTIVES
from experiments.tuning.replayable_oracle import SEARCH, ReplayableOracle
from experiments.tuning.search import Search
from experiments.tuning.trial import Outcome

TUNER_PREFIX = "tuner/"  # what Hyperband puts beside the values begins so


class Grid(ReplayableOracle):
    """Every combination of the points, in order; KerasTuner's ends one to know the next."""

    @cached_property
    def combinations(self) -> list[dict[str, Any]]:
        """The trials' values, by their numbers."""
        return search_space.grid_points(self.search.trainer.space)

    def planned(self) -> int:
        return len(self.combinations)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        number = int(trial_id)
        if number >= len(self.combinations):
            return {"status": "STOPPED"}
        ranged = {d.name for d in self.search.trainer.space if d.low is not None}
        chosen = self.combinations[number].items()
        values = {name: v if name in ranged else json.dumps(v) for name, v in chosen}
        return {"status": "RUNNING", "values": {SEARCH: self.search.digest, **values}}


class Random(ReplayableOracle, kt.oracles.RandomSearchOracle):
    """KerasTuner's, unchanged: its values depend on the seed alone."""


class Bayesian(ReplayableOracle, kt.oracles.BayesianOptimizationOracle):
    """KerasTuner's: after the initial random points, each trial depends on all before it."""

    def waits(self) -> bool:
        return len(self.trials) >= self.num_initial_points

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        # Scores that are all the same are no mistake. Several threads would only wait for each
        # other: the matrices are tiny.
        alike = warnings.catch_warnings(category=ConvergenceWarning, action="ignore")
        with alike, threadpool_limits(1, user_api="blas"):
            return super().populate_space(trial_id)


class Hyperband(ReplayableOracle, kt.oracles.HyperbandOracle):
    """KerasTuner's: a round is chosen among the trials of the one before, which must have ended."""

    def planned(self) -> int:
        brackets = range(self._get_num_brackets())
        return sum(self._get_size(b, r) for b in brackets for r in range(self._get_num_rounds(b)))

    def waits(self) -> bool:
        self._remove_completed_brackets()
        under_way = {trial.trial_id for trial in self.ongoing_trials.values()}
        for bracket in self._brackets:
            for number, entered in enumerate(bracket["rounds"]):
                if len(entered) < self._get_size(bracket["bracket_num"], number):
                    before = bracket["rounds"][number - 1] if number else []
                    return any(info["id"] in under_way for info in before)
        return False


CLASSES = {"grid": Grid, "random": Random, "bayesian": Bayesian, "hyperband": Hyperband}


def build(
    search: Search, outcomes: Mapping[int, Outcome], skip: Callable[[int], bool]
) -> ReplayableOracle:
    """Return the oracle of a search, told what is known and which trials are another shard's."""
    trainer = search.trainer
    options: dict[str, Any] = {
        "objective": kt.Objective("score", OBJECTIVES[trainer.objective].direction),
        "hyperparameters": hyperparameters(search),
        "allow_new_entries": False,
        "tune_new_entries": False,
        "seed": trainer.template.seed + 1,  # KerasTuner takes 0 for none
    }
    if search.oracle == "hyperband":
        options["max_epochs"] = trainer.template.arm.intervals
    elif search.oracle in COUNTED:
        options["max_trials"] = search.trials
    if search.oracle == "bayesian":
        options["num_initial_points"] = search.initial
    oracle = CLASSES[search.oracle](**options)
    oracle.begin(search, outcomes, skip)
    return oracle


def hyperparameters(search: Search) -> kt.HyperParameters:
    """Return the space as KerasTuner has it: a choice is among JSON texts."""
    space = kt.HyperParameters()
    space.Fixed(SEARCH, search.digest)
    for dimension in search.trainer.space:
        options: dict[str, Any] = {}
        if dimension.when:
            name, value = dimension.when
            options = {"parent_name": name, "parent_values": [json.dumps(value)]}
        if dimension.low is None or dimension.high is None:
            space.Choice(dimension.name, [*map(json.dumps, dimension.points)], **options)
        else:
            options["sampling"] = "log" if dimension.log else "linear"
            space.Float(dimension.name, dimension.low, dimension.high, **options)
    return space


def values_of(search: Search, trial: Trial) -> dict[str, Any]:
    """Return the values that an oracle gave a trial, as an arm has them, and its own beside."""
    told, values = trial.hyperparameters.values, {}
    for dimension in search.trainer.space:
        if dimension.name in told:
            value = told[dimension.name]
            values[dimension.name] = (
                json.loads(value) if dimension.low is None else round_value(value)
            )
    return values | {name: told[name] for name in sorted(told) if name.startswith(TUNER_PREFIX)}
