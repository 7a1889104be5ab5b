"""KerasTuner's oracles, made exact: the same trials whoever trains them, and however often killed.

KerasTuner keeps an oracle's state in files, from which its grid does not go on and its Bayesian
search goes on otherwise. Here none is kept: an oracle is asked again from the beginning, and what
its trials came to is known already (``journal``). That is the same search, as a trial's values are
made to depend on nothing but the seed and the outcomes of the trials before it: where they depend
on any that is under way, a worker that asks has to wait.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any

import keras_tuner as kt
from keras_tuner.engine.trial import Trial
from sklearn.exceptions import ConvergenceWarning

from experiments.harness import space as spaces
from experiments.harness.space import short
from experiments.search.plan import Search
from experiments.search.trial import Outcome

OUTCOME = "outcome"  # the value by which a worker sends it to the chief, as JSON
SEARCH = "search"  # the value that says which search it is
LONGEST = 24 * 3600  # seconds that a worker may take for a trial
OWN = "tuner/"  # what Hyperband puts beside the values begins so
DIRECTIONS = {"accuracy": "max", "loss": "min"}


class Exact(kt.Oracle):
    """What all oracles here have in common; a base before KerasTuner's own class.

    ``outcomes`` are those known, by the trial's number; ``skip`` says which trials another shard
    trains. A worker that says nothing for ``limit`` seconds, or does not end in a day, has lost its
    trial to the next that asks.
    """

    outcomes: dict[int, Outcome]
    _retry_queue: list[str]
    limit: float = math.inf
    exhausted = False

    def begin(
        self, search: Search, outcomes: Mapping[int, Outcome], skip: Callable[[int], bool]
    ) -> None:
        """Take what there is to know before the first trial is asked for."""
        self.search, self.outcomes, self.skip = search, dict(outcomes), skip
        self.given: dict[str, list[float]] = {}  # when each trial was given out
        self.heard: dict[str, float] = {}  # by the trial or the worker
        self.guard = RLock()
        self._display.verbose = 0

    def waits(self) -> bool:
        """Return whether the next trial's values depend on those under way."""
        return False

    @property
    def over(self) -> bool:
        """Whether there is no trial left, under way or to be given out again."""
        return self.exhausted and not (self.ongoing_trials or self._retry_queue)

    def expected(self) -> int:
        """Return how many trials there will be at most, over all shards."""
        return self.search.trials

    def create_trial(self, tuner_id: str) -> Trial:
        """Give a worker its next trial, one that waits (``IDLE``), or the end (``STOPPED``)."""
        with self.guard:
            self.heard[tuner_id] = time.monotonic()
            self.recall()
            while True:
                asks_anew = tuner_id not in self.ongoing_trials and not self._retry_queue
                if asks_anew and self.ongoing_trials and self.waits():
                    return _sent("", "IDLE", {})
                trial = super().create_trial(tuner_id)
                if trial.status == "STOPPED":
                    self.exhausted = True
                    if self.ongoing_trials:  # whoever has one may still lose it
                        self.tuner_ids.add(tuner_id)
                        return _sent("", "IDLE", {})
                if trial.status != "RUNNING":
                    return _sent(trial.trial_id, trial.status, {})
                number = int(trial.trial_id)
                if number in self.outcomes or self.skip(number):
                    self._end(trial, self.outcomes.get(number))
                    continue
                self.heard[trial.trial_id] = time.monotonic()
                self.given.setdefault(trial.trial_id, []).append(time.monotonic())
                return _sent(trial.trial_id, trial.status, trial.hyperparameters.values)

    def end_trial(self, trial: Trial) -> None:
        """Take what a worker sends; of a trial that has ended already it is the same."""
        with self.guard:
            text = trial.hyperparameters.values[OUTCOME]
            if int(trial.trial_id) not in self.outcomes:
                self._end(self.trials[trial.trial_id], Outcome(**json.loads(text)))

    def get_trial(self, trial_id: str) -> Trial:
        """Return a trial; that its worker asks is the sign that it is alive."""
        self.heard[trial_id] = time.monotonic()
        return _sent(trial_id, super().get_trial(trial_id).status, {})

    def recall(self, dead: str | None = None) -> list[str]:
        """Take back the trials of silent workers, and of one that is known to be dead."""
        with self.guard:
            now = time.monotonic()
            lost = [
                worker
                for worker, trial in self.ongoing_trials.items()
                if worker == dead
                or now - self.heard[trial.trial_id] > self.limit
                or now - self.given[trial.trial_id][-1] > LONGEST
            ]
            for worker in lost:
                self._retry_queue.append(self.ongoing_trials.pop(worker).trial_id)
            return lost

    def _end(self, trial: Trial, outcome: Outcome | None) -> None:
        number = trial.trial_id
        if outcome:
            self.outcomes[int(number)] = outcome
            trial.status = "COMPLETED"
            super().end_trial(trial)
        for worker in [w for w, other in self.ongoing_trials.items() if other.trial_id == number]:
            del self.ongoing_trials[worker]
        self._retry_queue = [other for other in self._retry_queue if other != number]

    def score_trial(self, trial: Trial) -> None:
        trial.score = self.outcomes[int(trial.trial_id)].score

    def save(self) -> None: ...

    def _save_trial(self, trial: Trial) -> None: ...


def _sent(trial_id: str, status: str, values: Mapping[str, Any]) -> Trial:
    """Return what a worker is sent: no space, which KerasTuner prints a part of on its way."""
    told = kt.HyperParameters()
    told.values = {**values}
    return Trial(told, trial_id, status)


class Grid(Exact):
    """Every combination of the points, in order; KerasTuner's ends one to know the next."""

    def expected(self) -> int:
        return len(spaces.grid(self.search.trainer.space))

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        space = self.search.trainer.space
        combinations, number = spaces.grid(space), int(trial_id)
        if number >= len(combinations):
            return {"status": "STOPPED"}
        ranged = {dimension.name for dimension in space if dimension.low is not None}
        chosen = combinations[number].items()
        values = {name: v if name in ranged else json.dumps(v) for name, v in chosen}
        return {"status": "RUNNING", "values": {SEARCH: self.search.digest, **values}}


class Random(Exact, kt.oracles.RandomSearchOracle):
    """KerasTuner's, unchanged: its values depend on the seed alone."""


class Bayesian(Exact, kt.oracles.BayesianOptimizationOracle):
    """KerasTuner's: after the initial random points, each trial depends on all before it."""

    def waits(self) -> bool:
        return len(self.trials) >= self.num_initial_points

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        with warnings.catch_warnings(category=ConvergenceWarning, action="ignore"):
            return super().populate_space(trial_id)  # scores that are all the same are no mistake


class Hyperband(Exact, kt.oracles.HyperbandOracle):
    """KerasTuner's: a round is chosen among the trials of the one before, which must have ended."""

    def expected(self) -> int:
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


ORACLES = {"grid": Grid, "random": Random, "bayesian": Bayesian, "hyperband": Hyperband}
SHARDED = ("grid", "random")  # whose trials depend on no other


def build(search: Search, outcomes: Mapping[int, Outcome], skip: Callable[[int], bool]) -> Exact:
    """Return the oracle of a search, told what is known and which trials are another shard's."""
    trainer = search.trainer
    options: dict[str, Any] = {
        "objective": kt.Objective("score", DIRECTIONS[trainer.objective]),
        "hyperparameters": hyperparameters(search),
        "allow_new_entries": False,
        "tune_new_entries": False,
        "seed": trainer.template.seed + 1,  # KerasTuner takes 0 for none
    }
    if search.oracle == "hyperband":
        options["max_epochs"] = trainer.template.arm.intervals
    elif search.oracle != "grid":
        options["max_trials"] = search.trials
    if search.oracle == "bayesian":
        options["num_initial_points"] = search.initial
    oracle = ORACLES[search.oracle](**options)
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
            values[dimension.name] = json.loads(value) if dimension.low is None else short(value)
    return values | {name: told[name] for name in sorted(told) if name.startswith(OWN)}
