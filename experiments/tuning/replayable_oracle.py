"""A KerasTuner oracle that gives the same trials for any number of workers, across any kills.

KerasTuner saves an oracle's state in files, from which its grid search does not resume and its
Bayesian search resumes with other trials. Here no state is saved: an oracle is replayed from the
beginning with the known outcomes. That gives the same search, since a trial's values depend only on
the seed and on the outcomes of earlier trials. While one of those is still running, a worker that
requests a trial has to wait.
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
from experiments.tuning.trial import Outcome, scores

OUTCOME_KEY = "outcome"  # the value with which a worker sends its outcome to the chief, as JSON
SEARCH_KEY = "search"  # the value that holds the search's digest
REPLAY_WORKER = "replay"  # the worker name under which known trials are replayed

Skip = Callable[[int], bool]  # whether another shard trains the trial of that number


def skip_none(_: int) -> bool:
    """Return False for any trial."""
    return False


class ReplayableOracle(kt.Oracle):
    """Base of all oracles here, to be listed before KerasTuner's class.

    ``outcomes`` are those known, by the trial's number. A worker that is silent for
    ``silence_limit`` seconds, or has not finished in ``trial_time_limit``, loses its trial to the
    next worker. ``on_trial_end`` is called after each trial.
    """

    outcomes: dict[int, Outcome]
    _retry_queue: list[str]
    silence_limit = trial_time_limit = math.inf
    exhausted = False  # KerasTuner has no more trials, and must not be called for another
    error: Exception | None = None

    def initialize(self, search: Search, outcomes: Mapping[int, Outcome], skip: Skip) -> None:
        """Set the search, its known outcomes and the trials to skip, before the first trial."""
        self.search, self.outcomes, self.skip = search, dict(outcomes), skip
        self.handed_out: dict[str, list[float]] = {}  # the times at which each trial was
        self.last_sign: dict[str, float] = {}  # when each trial's worker last gave a sign of life
        self.last_request: dict[str, float] = {}  # when each worker last requested a trial
        self._lost_workers: list[tuple[str, str]] = []  # workers and reasons, not yet reported
        self.on_trial_end: Callable[[], None] = lambda: None
        self.lock = RLock()
        self._display.verbose = 0

    def must_wait(self) -> bool:
        """Return whether the next trial's values depend on running trials."""
        return False

    def planned_trials(self) -> int:
        """Return the maximum number of trials, over all shards."""
        return self.search.trials

    def expected_trials(self) -> int:
        """Return the number of trials of this shard, at most."""
        number = len(self.trials) if self.exhausted else self.planned_trials()
        return sum(not self.skip(k) for k in range(number))

    @property
    def is_finished(self) -> bool:
        """Whether no trial is left to start, to finish or to retry."""
        return self.exhausted and not (self.ongoing_trials or self._retry_queue)

    def replay(self) -> None:
        """Create the known trials, so that no worker waits while KerasTuner chooses them.

        The first unknown trial is left for the first worker.
        """
        with self._exclusive():
            self._next_trial(REPLAY_WORKER)
            self.release_worker(REPLAY_WORKER)

    def create_trial(self, tuner_id: str) -> Trial:
        """Return a worker's next trial, or one that says to wait (IDLE) or to end (STOPPED)."""
        with self._exclusive():
            self.last_request[tuner_id] = time.monotonic()
            self._release_lost_workers()
            trial = self._next_trial(tuner_id)
            now = self.last_request[tuner_id] = time.monotonic()  # the choice may be slow
            if trial:
                self.last_sign[trial.trial_id] = now
                self.handed_out.setdefault(trial.trial_id, []).append(now)
                return _reply(trial.trial_id, "RUNNING", trial.hyperparameters.values)
            if self.is_finished:
                self.tuner_ids.discard(tuner_id)
                return _reply("", "STOPPED", {})
            self.tuner_ids.add(tuner_id)  # another worker may still lose its trial
            return _reply("", "IDLE", {})

    def end_trial(self, trial: Trial) -> None:
        """Record the outcome that a worker sends; ignored if the trial has already ended."""
        values, number = trial.hyperparameters.values, int(trial.trial_id)
        if values[SEARCH_KEY] != self.search.digest:
            raise UserError(f"trial {number} belongs to another search")
        with self._exclusive():
            if number in self.outcomes:
                return
            outcome = Outcome(**json.loads(values[OUTCOME_KEY]))
            if trial.trial_id in self.trials:
                self._finish(self.trials[trial.trial_id], outcome)
            else:  # handed out by an earlier chief
                self.outcomes[number] = outcome
            self.on_trial_end()

    def get_trial(self, trial_id: str) -> Trial:
        """Record that a trial's worker is alive, even if an earlier chief handed out the trial."""
        self.last_sign[trial_id] = time.monotonic()
        return _reply(trial_id, "RUNNING", {})

    def lost_workers(self) -> list[tuple[str, str]]:
        """Take back the trials of lost workers; return those lost since the last call, and why."""
        with self.lock:
            self._release_lost_workers()
            lost, self._lost_workers = self._lost_workers, []
            return lost

    def release_worker(self, worker: str) -> None:
        """Take back a worker's trial, if it has one, for the next worker."""
        with self.lock:
            if trial := self.ongoing_trials.pop(worker, None):
                self._retry_queue.append(trial.trial_id)
            self.tuner_ids.discard(worker)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Let one thread in; after an error none, since KerasTuner's own lock stays locked."""
        with self.lock:
            if self.error:
                raise self.error
            try:
                yield
            except Exception as error:
                self.error = error
                raise

    def _next_trial(self, worker: str) -> Trial | None:
        """Assign the next trial to the worker and return it; None if there is none now."""
        while True:
            needs_new = worker not in self.ongoing_trials and not self._retry_queue
            if needs_new and (self.exhausted or (self.ongoing_trials and self.must_wait())):
                return None
            self._score_trials()
            trial = super().create_trial(worker)
            if trial.status != "RUNNING":  # final: the next trial depends on no running one
                self.exhausted = True
                return None
            number = int(trial.trial_id)
            if number not in self.outcomes and not self.skip(number):
                return trial
            self._finish(trial, self.outcomes.get(number))

    def _release_lost_workers(self) -> None:
        now = time.monotonic()
        for worker, trial in [*self.ongoing_trials.items()]:
            if now - self.last_sign[trial.trial_id] > self.silence_limit:
                reason = f"has been silent for {self.silence_limit:g} s"
            elif now - self.handed_out[trial.trial_id][-1] > self.trial_time_limit:
                reason = f"has not finished in {self.trial_time_limit:g} s"
            else:
                continue
            self.release_worker(worker)
            self._lost_workers.append((worker, reason))

    def _finish(self, trial: Trial, outcome: Outcome | None) -> None:
        """End a trial; one of another shard ends without an outcome."""
        trial_id = trial.trial_id
        if outcome:
            self.outcomes[int(trial_id)] = outcome
            trial.status = "COMPLETED"
            super().end_trial(trial)
        for worker in [w for w, t in self.ongoing_trials.items() if t.trial_id == trial_id]:
            del self.ongoing_trials[worker]
        self._retry_queue = [other for other in self._retry_queue if other != trial_id]

    def _score_trials(self) -> None:
        """Score the finished trials, since the score of a diverged one depends on all others.

        Trials that are finished but not yet created, in a resumed search, do not count.
        """
        finished = {n: self.outcomes[n] for n in map(int, self.trials) if n in self.outcomes}
        current = scores(finished, self.search.trainer.objective)
        for trial in self.trials.values():
            trial.score = current.get(int(trial.trial_id), trial.score)

    def score_trial(self, trial: Trial) -> None:
        number = int(trial.trial_id)  # a diverged trial's score is set before the next trial
        trial.score = scores({number: self.outcomes[number]}, self.search.trainer.objective)[number]

    def save(self) -> None: ...

    def _save_trial(self, trial: Trial) -> None: ...


def _reply(trial_id: str, status: str, values: Mapping[str, Any]) -> Trial:
    """Return a trial to send to a worker, without its space, of which KerasTuner prints a part."""
    hyperparameters = kt.HyperParameters()
    hyperparameters.values = {**values}
    return Trial(hyperparameters, trial_id, status)
