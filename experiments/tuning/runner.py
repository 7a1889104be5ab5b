"""A search from its beginning, or from where it stands, to its table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.harness.data.dataset import Dataset
from experiments.harness.runtime import filesystem
from experiments.harness.runtime.log import logger
from experiments.harness.spec import UserError
from experiments.tuning import journal, oracles
from experiments.tuning.distributed import chief, local_workers
from experiments.tuning.distributed.chief import Sharing
from experiments.tuning.distributed.worker import run_trials, trial_function
from experiments.tuning.replayable_oracle import ReplayableOracle
from experiments.tuning.search import FinishedTrial, Search, SearchLocation
from experiments.tuning.trial import EPOCHS


def run_search(
    search: Search,
    place: SearchLocation,
    dataset: Dataset,
    sharing: Sharing,
    *,
    shard: tuple[int, int] = (1, 1),
    known: Sequence[Path] = (),
    fresh: bool = False,
) -> dict[int, FinishedTrial]:
    """Return every trial of the search, or of one shard of it; those tried before are not again.

    With ``known``, folders of shards, none is trained. ``fresh`` forgets what was tried. The
    journal is written after each trial. Raises what training raises, and what ``chief`` does.
    """
    folder = journal.directory(search, place.directory)
    with filesystem.lock_directory(folder):
        if fresh:
            journal.clear(folder)
        tried = journal.read(search, folder) | journal.merge(search, known)
        outcomes = {number: each.outcome for number, each in tried.items()}
        oracle = oracles.build(search, outcomes, _others(shard) if not known else lambda _: True)
        writer = JournalWriter(search, folder, oracle, tried)
        oracle.ended = writer.keep
        oracle.replay()
        try:
            writer.keep()
            if not oracle.over:
                _train(search, place, dataset, oracle, sharing)
        finally:
            writer.keep()
        journal.write(search, tried, folder)
        if missing := len(oracle.trials) - len(tried) if known else 0:
            logger.info(f"{missing} of {len(oracle.trials)} trials are missing: in no shard yet")
        return tried


def _others(shard: tuple[int, int]) -> Callable[[int], bool]:
    mine, shards = shard
    return lambda number: number % shards != mine - 1


def _train(
    search: Search,
    place: SearchLocation,
    dataset: Dataset,
    oracle: ReplayableOracle,
    sharing: Sharing,
) -> None:
    """Let this process train what the oracle gives out, or workers here or elsewhere."""
    if sharing.jobs == 1 and not sharing.address:
        run_trials(search, oracle, "here", trial_function(search, place, dataset))
        return
    with chief.serving(oracle, sharing.address or "127.0.0.1:0") as reached:
        if sharing.address:
            logger.info(f"chief on {reached}; start workers with --role worker --address {reached}")
            chief.serve(oracle, sharing)
            return
        with local_workers.workers(search, place, sharing.jobs, sharing.limit, reached) as own:
            chief.serve(oracle, sharing, own)


class JournalWriter:
    """What has been tried, kept in the search's folder as it comes in."""

    def __init__(
        self,
        search: Search,
        folder: Path,
        oracle: ReplayableOracle,
        tried: dict[int, FinishedTrial],
    ) -> None:
        self.search, self.folder, self.oracle = search, folder, oracle
        self.tried, self.begun, self.before = tried, time.monotonic(), len(tried)
        if tried:
            logger.info(f"{len(tried)} trials are known from before")

    def keep(self) -> None:
        """Take in what has ended since, write the journal, and tell it.

        Raises ``UserError`` where the oracle chose otherwise than it did before.
        """
        with self.oracle.guard:
            values = self._chosen()
            ended = self.oracle.outcomes.items()
            new = {
                n: FinishedTrial(values[n], o)
                for n, o in ended
                if n in values and n not in self.tried
            }
            if not new:
                return
            before = len(self.tried)
            self.tried |= new
            journal.write(self.search, self.tried, self.folder)
            for count, number in enumerate(sorted(new), before + 1):
                logger.info(f"[{count}/{self.oracle.expected()}] {self.line(number)}")

    def _chosen(self) -> dict[int, dict[str, Any]]:
        """Return the values of the trials so far, by their numbers."""
        trials = self.oracle.trials.items()
        values = {int(key): oracles.values_of(self.search, trial) for key, trial in trials}
        for number, known in self.tried.items():
            if values.get(number, known.values) != known.values:
                raise UserError(
                    f"trial {number} was {known.values}, and now it is {values[number]}: "
                    "KerasTuner is another version, or the journal was edited; --fresh starts over"
                )
        return values

    def line(self, number: int) -> str:
        """Return what came of a trial, and how long the rest will take."""
        tried, left = self.tried[number], self.oracle.expected() - len(self.tried)
        space = self.search.trainer.space
        facts = [f"{d.short}={tried.values[d.name]}" for d in space if d.name in tried.values]
        if EPOCHS in tried.values:
            facts.append(f"{tried.values[EPOCHS]} intervals")
        values = ", ".join(facts)
        steps = [str(step) for step in tried.outcome.diverged if step is not None]
        came = f"{self.search.trainer.objective} {tried.outcome.score:.4g}"
        ended = f"diverged by step {', '.join(steps)}" if steps else came
        each = (time.monotonic() - self.begun) / (len(self.tried) - self.before)
        ahead = f"; about {each * left / 60:.0f} min left" if left > 0 else ""
        return f"trial {number}: {values}: {ended}{ahead}"
