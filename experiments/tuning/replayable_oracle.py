"""KerasTuner's oracle, made exact: the same trials whoever trains them, and however often killed.

KerasTuner keeps an oracle's state in files, from which its grid does not go on and its Bayesian
search goes on otherwise. Here none is kept: an oracle is asked again from the beginning, and what
its trials came to is known already. That is the same search, as a trial's values are made to depend
on nothing but the seed and the outcomes of the trials before it: where they depend on any that is
under way, a worker that asks has to wait.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from typing import Any

import keras_tuner as kt
from keras_tuner.engine.trial import Trial

from experiments.harness.spec import UserError
from experiments.tuning.search import Search
from experiments.tuning.trial import Outcome

OUTCOME = "outcome"  # the value by which a worker sends it to the chief, as JSON
SEARCH = "search"  # the value that says which search it is
REPLAY = "replay"  # who asks for the trials that are known


class ReplayableOracle(kt.Oracle):
    """What all oracles here have in common; a base before KerasTuner's own class.

    ``outcomes`` are those known, by the trial's number; ``skip`` says which trials another shard
    trains. A worker that says nothing for ``limit`` seconds, or does not end in ``longest``, has
    lost its trial to the next that asks. ``ended`` is called after each trial.
    """

    outcomes: dict[int, Outcome]
    _retry_queue: list[str]
    limit = longest = math.inf
    exhausted = False  # whether KerasTuner has no more trials, so that it must not be asked again
    broken: Exception | None = None

    def begin(
        self, search: Search, outcomes: Mapping[int, Outcome], skip: Callable[[int], bool]
    ) -> None:
        """Take what there is to know before the first trial is asked for."""
        self.search, self.outcomes, self.skip = search, dict(outcomes), skip
        self.given: dict[str, list[float]] = {}  # when each trial was given out
        self.alive: dict[str, float] = {}  # when a trial's worker was heard last
        self.heard: dict[str, float] = {}  # when a worker asked last
        self.silent: list[tuple[str, str]] = []  # who lost a trial, and why, until it is told
        self.ended: Callable[[], None] = lambda: None
        self.guard = RLock()
        self._display.verbose = 0

    def waits(self) -> bool:
        """Return whether the next trial's values depend on those under way."""
        return False

    def planned(self) -> int:
        """Return how many trials there will be at most, over all shards."""
        return self.search.trials

    def expected(self) -> int:
        """Return how many trials there will be at most, but for those of other shards."""
        number = len(self.trials) if self.exhausted else self.planned()
        return sum(not self.skip(k) for k in range(number))

    @property
    def over(self) -> bool:
        """Whether there is no trial left, under way or to be given out again."""
        return self.exhausted and not (self.ongoing_trials or self._retry_queue)

    def replay(self) -> None:
        """Ask for the trials that are known: so no worker waits for KerasTuner to choose them.

        The first one that is not known is kept for the first worker.
        """
        with self._alone():
            self._next(REPLAY)
            self.dismiss(REPLAY)

    def create_trial(self, tuner_id: str) -> Trial:
        """Give a worker its next trial, one that waits (``IDLE``), or the end (``STOPPED``)."""
        with self._alone():
            self.heard[tuner_id] = time.monotonic()
            self._recall()
            trial = self._next(tuner_id)
            now = self.heard[tuner_id] = time.monotonic()  # the choice may have taken long
            if trial:
                self.alive[trial.trial_id] = now
                self.given.setdefault(trial.trial_id, []).append(now)
                return _sent(trial.trial_id, "RUNNING", trial.hyperparameters.values)
            if self.over:
                self.tuner_ids.discard(tuner_id)
                return _sent("", "STOPPED", {})
            self.tuner_ids.add(tuner_id)  # whoever has a trial may still lose it
            return _sent("", "IDLE", {})

    def end_trial(self, trial: Trial) -> None:
        """Take what a worker sends; of a trial that has ended already it is the same."""
        told, number = trial.hyperparameters.values, int(trial.trial_id)
        if told[SEARCH] != self.search.digest:
            raise UserError(f"trial {number} is another search's")
        with self._alone():
            if number in self.outcomes:
                return
            outcome = Outcome(**json.loads(told[OUTCOME]))
            if trial.trial_id in self.trials:
                self._end(self.trials[trial.trial_id], outcome)
            else:  # a chief before this one gave it out
                self.outcomes[number] = outcome
            self.ended()

    def get_trial(self, trial_id: str) -> Trial:
        """Take the sign that a trial's worker is alive, whichever chief gave the trial out."""
        self.alive[trial_id] = time.monotonic()
        return _sent(trial_id, "RUNNING", {})

    def lost(self) -> list[tuple[str, str]]:
        """Take back silent workers' trials; return who lost any since the last call, and why."""
        with self.guard:
            self._recall()
            silent, self.silent = self.silent, []
            return silent

    def dismiss(self, worker: str) -> None:
        """Take back the trial of a worker that is no more, if it has one."""
        with self.guard:
            if trial := self.ongoing_trials.pop(worker, None):
                self._retry_queue.append(trial.trial_id)
            self.tuner_ids.discard(worker)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one thread in; none after an error, from which on KerasTuner's own lock is held."""
        with self.guard:
            if self.broken:
                raise self.broken
            try:
                yield
            except Exception as error:
                self.broken = error
                raise

    def _next(self, worker: str) -> Trial | None:
        """Return the next trial that is to be trained, now the worker's; None if there is none."""
        while True:
            asks_anew = worker not in self.ongoing_trials and not self._retry_queue
            if asks_anew and (self.exhausted or (self.ongoing_trials and self.waits())):
                return None
            trial = super().create_trial(worker)
            if trial.status != "RUNNING":  # nor will there be: none depends on those under way
                self.exhausted = True
                return None
            number = int(trial.trial_id)
            if number not in self.outcomes and not self.skip(number):
                return trial
            self._end(trial, self.outcomes.get(number))

    def _recall(self) -> None:
        now = time.monotonic()
        for worker, trial in [*self.ongoing_trials.items()]:
            if now - self.alive[trial.trial_id] > self.limit:
                why = f"is silent for {self.limit:g} s"
            elif now - self.given[trial.trial_id][-1] > self.longest:
                why = f"has not ended in {self.longest:g} s"
            else:
                continue
            self.dismiss(worker)
            self.silent.append((worker, why))

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
