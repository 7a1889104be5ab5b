"""Running a search: from its journal, or from the start, to the last trial."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from experiments.harness.execution.task import Executor, Task
from experiments.harness.runtime import filesystem
from experiments.harness.runtime.log import logger
from experiments.harness.spec import UserError
from experiments.tuning import journal, oracles
from experiments.tuning.replayable_oracle import ReplayableOracle, Skip
from experiments.tuning.search import FinishedTrial, Search, SearchLocation
from experiments.tuning.trial import EPOCHS_KEY, Outcome


def run_search(
    search: Search,
    location: SearchLocation,
    executor: Executor,
    *,
    shard: tuple[int, int] = (1, 1),
    merge: Sequence[Path] = (),
    fresh: bool = False,
) -> dict[int, FinishedTrial]:
    """Train the trials that are not in the journal yet, and return all trials by number.

    ``shard`` (i, n) is every nth trial only. With ``merge``, the directories of shards, their
    trials are merged and none is trained. ``fresh`` deletes the journal first. The journal is
    written after each trial. Raises what ``Answer.result`` does.
    """
    directory = journal.directory_of(search, location.directory)
    with filesystem.lock_directory(directory):
        if fresh:
            journal.clear(directory)
        trials = journal.read(search, directory) | journal.merge(search, merge)
        outcomes = {number: trial.outcome for number, trial in trials.items()}
        oracle = oracles.build(search, outcomes, _skip_all if merge else _skip_others(shard))
        writer = JournalWriter(search, directory, oracle, trials)
        with closing(executor.run(_tasks(search, location, writer))) as answers:
            for answer in answers:
                number = answer.task.arguments["number"]
                oracle.record(number, Outcome(**answer.result()))
                writer.save(answer.note)
        trials = writer.trials
        journal.write(search, trials, directory)
        if missing := len(oracle.trials) - len(trials) if merge else 0:
            logger.info(f"{missing} of {len(oracle.trials)} trials are missing from these shards")
        return trials


def _skip_all(_: int) -> bool:
    return True


def _skip_others(shard: tuple[int, int]) -> Skip:
    index, count = shard
    return lambda number: number % count != index - 1


def _tasks(
    search: Search, location: SearchLocation, writer: JournalWriter
) -> Iterator[Task | None]:
    """Yield a task for each trial, and None while the next trial depends on running ones."""
    oracle = writer.oracle
    while True:
        trial = oracle.next_trial()
        writer.save()  # checks the known trials, which may have been created
        if oracle.exhausted:
            return
        yield trial and search.trainer.task(
            int(trial.trial_id),
            oracles.values_of(search, trial),
            location.directory,
            location.source,
            location.telemetry_every,
        )


class JournalWriter:
    """Writes the oracle's finished trials to the journal as they come in."""

    def __init__(
        self,
        search: Search,
        directory: Path,
        oracle: ReplayableOracle,
        trials: dict[int, FinishedTrial],
    ) -> None:
        self.search, self.directory, self.oracle, self.trials = search, directory, oracle, trials
        self.started, self.known_count = time.monotonic(), len(trials)
        if trials:
            logger.info(f"resuming after {len(trials)} finished trials")

    def save(self, note: str = "") -> None:
        """Add the oracle's newly finished trials, write the journal, and log them with a note.

        Raises ``UserError`` if the oracle chose other values than it did before.
        """
        values = self._chosen_values()
        new = {
            number: FinishedTrial(values[number], outcome)
            for number, outcome in self.oracle.outcomes.items()
            if number in values and number not in self.trials
        }
        if not new:
            return
        count = len(self.trials)
        self.trials |= new
        journal.write(self.search, self.trials, self.directory)
        for position, number in enumerate(sorted(new), count + 1):
            expected = self.oracle.expected_trials()
            line = self._progress_line(number) + (f"; {note}" if note else "")
            logger.info(f"[{position}/{expected}] {line}")

    def _chosen_values(self) -> dict[int, dict[str, Any]]:
        """Return the values of the trials so far by number, compared with the journal."""
        trials = self.oracle.trials.items()
        values = {int(key): oracles.values_of(self.search, trial) for key, trial in trials}
        for number, trial in self.trials.items():
            if values.get(number, trial.values) != trial.values:
                raise UserError(
                    f"trial {number} was {trial.values}, and now it is {values[number]}: another "
                    "version of KerasTuner, or an edited journal; --fresh starts over"
                )
        return values

    def _progress_line(self, number: int) -> str:
        """Return a trial's values and outcome, and the time that the rest will take."""
        trial, objective = self.trials[number], self.search.trainer.objective
        space = self.search.trainer.space
        facts = [f"{d.short}={trial.values[d.name]}" for d in space if d.name in trial.values]
        if EPOCHS_KEY in trial.values:
            facts.append(f"{trial.values[EPOCHS_KEY]} intervals")
        outcome = trial.outcome.summary(objective)
        left = self.oracle.expected_trials() - len(self.trials)
        seconds = (time.monotonic() - self.started) / (len(self.trials) - self.known_count)
        eta = f"; about {seconds * left / 60:.0f} min left" if left > 0 else ""
        return f"trial {number}: {', '.join(facts)}: {outcome}{eta}"
