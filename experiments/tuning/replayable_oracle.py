"""A KerasTuner oracle that gives the same trials for any number of processes, across any kills.

KerasTuner saves an oracle's state in files, from which its grid search does not resume and its
Bayesian search resumes with other trials. Here no state is saved: an oracle is replayed from the
beginning with the known outcomes. That gives the same search, since a trial's values depend only on
the seed and on the outcomes of earlier trials. While one of those is still running, the next trial
has to wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras_tuner as kt
from keras_tuner.engine.trial import Trial

from experiments.tuning.search import Search
from experiments.tuning.trial import Outcome, scores

Skip = Callable[[int], bool]  # whether another shard trains the trial of that number


def skip_none(_: int) -> bool:
    """Return False for any trial."""
    return False


class ReplayableOracle(kt.Oracle):
    """Base of all oracles here, to be listed before KerasTuner's class.

    ``outcomes`` are those known, by the trial's number.
    """

    outcomes: dict[int, Outcome]
    ongoing_trials: dict[str, Trial]
    exhausted = False  # KerasTuner has no more trials, and must not be called for another

    def initialize(self, search: Search, outcomes: Mapping[int, Outcome], skip: Skip) -> None:
        """Set the search, its known outcomes and the trials to skip, before the first trial."""
        self.search, self.outcomes, self.skip = search, dict(outcomes), skip
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

    def next_trial(self) -> Trial | None:
        """Return the next trial to train; None if there is none before the next outcome.

        If there never will be another, ``exhausted`` is True then.
        """
        while not (self.exhausted or (self.ongoing_trials and self.must_wait())):
            self._score_trials()
            trial = self.create_trial(f"trial {len(self.trials)}")  # a worker for each
            if trial.status != "RUNNING":  # final: the next trial depends on no running one
                self.exhausted = True
                return None
            number = int(trial.trial_id)
            if number not in self.outcomes and not self.skip(number):
                return trial
            self._finish(trial, self.outcomes.get(number))
        return None

    def record(self, number: int, outcome: Outcome) -> None:
        """Record the outcome of a trial."""
        (trial,) = [t for t in self.ongoing_trials.values() if int(t.trial_id) == number]
        self._finish(trial, outcome)

    def _finish(self, trial: Trial, outcome: Outcome | None) -> None:
        """End a trial; one of another shard ends without an outcome."""
        if outcome:
            self.outcomes[int(trial.trial_id)] = outcome
            trial.status = "COMPLETED"
            self.end_trial(trial)
        else:
            self.ongoing_trials = {k: t for k, t in self.ongoing_trials.items() if t is not trial}

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
