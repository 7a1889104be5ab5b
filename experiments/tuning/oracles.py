"""KerasTuner's oracles over a search's space, each made replayable."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import keras_tuner as kt
from keras_tuner.engine.trial import Trial
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from experiments.harness.spec import search_space
from experiments.tuning.objectives import OBJECTIVES
from experiments.tuning.replayable_oracle import ReplayableOracle, Skip, skip_none
from experiments.tuning.search import Search
from experiments.tuning.trial import Outcome

SEARCH_KEY = "search"  # a constant of the space, for which KerasTuner advances its seed too
TUNER_PREFIX = "tuner/"  # of the names that Hyperband adds to a trial's values


class Grid(ReplayableOracle):
    """Every combination of the points, in order.

    KerasTuner's own grid needs the end of one trial to choose the next.
    """

    @cached_property
    def combinations(self) -> list[dict[str, Any]]:
        """The trials' values, in order."""
        return search_space.grid_points(self.search.trainer.space)

    def planned_trials(self) -> int:
        return len(self.combinations)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        number = int(trial_id)
        if number >= len(self.combinations):
            return {"status": "STOPPED"}
        ranges = {d.name for d in self.search.trainer.space if d.low is not None}
        chosen = self.combinations[number].items()
        values = {name: v if name in ranges else json.dumps(v) for name, v in chosen}
        return {"status": "RUNNING", "values": {SEARCH_KEY: self.search.digest, **values}}


class Random(ReplayableOracle, kt.oracles.RandomSearchOracle):
    """KerasTuner's, unchanged: its values depend on the seed alone."""


class Bayesian(ReplayableOracle, kt.oracles.BayesianOptimizationOracle):
    """KerasTuner's: after the initial random points, each trial depends on all earlier ones."""

    def must_wait(self) -> bool:
        return len(self.trials) >= self.num_initial_points

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        # Equal scores make the fit warn, though they are valid. BLAS threads only cost time: the
        # matrices are tiny.
        no_warning = warnings.catch_warnings(category=ConvergenceWarning, action="ignore")
        with no_warning, threadpool_limits(1, user_api="blas"):
            return super().populate_space(trial_id)


class Hyperband(ReplayableOracle, kt.oracles.HyperbandOracle):
    """KerasTuner's: the trials of a round are chosen when all of the round before have ended."""

    def planned_trials(self) -> int:
        brackets = range(self._get_num_brackets())
        return sum(self._get_size(b, r) for b in brackets for r in range(self._get_num_rounds(b)))

    def must_wait(self) -> bool:
        self._remove_completed_brackets()
        running = {trial.trial_id for trial in self.ongoing_trials.values()}
        for bracket in self._brackets:
            for number, trials in enumerate(bracket["rounds"]):
                if len(trials) < self._get_size(bracket["bracket_num"], number):
                    previous = bracket["rounds"][number - 1] if number else []
                    return any(info["id"] in running for info in previous)
        return False


CLASSES = {"grid": Grid, "random": Random, "bayesian": Bayesian, "hyperband": Hyperband}


def build(
    search: Search, outcomes: Mapping[int, Outcome], skip: Skip = skip_none
) -> ReplayableOracle:
    """Return the oracle of a search; ``outcomes`` are those known, by the trial's number."""
    trainer = search.trainer
    create = partial(
        CLASSES[search.oracle],
        objective=kt.Objective("score", OBJECTIVES[trainer.objective].direction),
        hyperparameters=hyperparameters(search),
        allow_new_entries=False,
        tune_new_entries=False,
        seed=trainer.template.seed + 1,  # KerasTuner replaces 0 by a random seed
    )
    if search.oracle == "hyperband":
        oracle = create(max_epochs=trainer.template.arm.intervals)
    elif search.oracle == "bayesian":
        oracle = create(max_trials=search.trials, num_initial_points=search.initial_trials)
    elif search.oracle == "random":
        oracle = create(max_trials=search.trials)
    else:
        oracle = create()
    oracle.initialize(search, outcomes, skip)
    return oracle


def hyperparameters(search: Search) -> kt.HyperParameters:
    """Return the space as KerasTuner's type; the values of a choice are JSON texts."""
    space = kt.HyperParameters()
    space.Fixed(SEARCH_KEY, search.digest)
    for dimension in search.trainer.space:
        parent, value = dimension.condition or (None, None)
        parent_values = [json.dumps(value)] if parent else None
        if dimension.low is None or dimension.high is None:
            space.Choice(
                dimension.name,
                [*map(json.dumps, dimension.points)],
                parent_name=parent,
                parent_values=parent_values,
            )
        else:
            space.Float(
                dimension.name,
                dimension.low,
                dimension.high,
                sampling="log" if dimension.log else "linear",
                parent_name=parent,
                parent_values=parent_values,
            )
    return space


def values_of(search: Search, trial: Trial) -> dict[str, Any]:
    """Return the arm's values in an oracle's trial, followed by those that Hyperband added."""
    given, values = trial.hyperparameters.values, {}
    for dimension in search.trainer.space:
        if dimension.name in given:
            value = given[dimension.name]
            values[dimension.name] = (
                json.loads(value) if dimension.low is None else search_space.round_value(value)
            )
    return values | {name: given[name] for name in sorted(given) if name.startswith(TUNER_PREFIX)}
