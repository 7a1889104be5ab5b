"""A search from its beginning, or from where it stands, to its table."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.harness import files
from experiments.harness.data import Dataset
from experiments.harness.making import Tell
from experiments.harness.spec import ProcessError, UserError
from experiments.search import chief, local, oracles, plan
from experiments.search.oracles import SHARDED, Exact
from experiments.search.plan import Place, Search, Tried
from experiments.search.trial import EPOCHS, Outcome
from experiments.search.work import BEAT, Train, work


def search(
    searched: Search,
    place: Place,
    dataset: Dataset,
    *,
    jobs: int = 1,
    address: str | None = None,
    limit: float = chief.LIMIT,
    patience: float = chief.PATIENCE,
    shard: tuple[int, int] = (1, 1),
    known: Sequence[Path] = (),
    fresh: bool = False,
    tell: Tell = print,
) -> dict[int, Tried]:
    """Return every trial of the search, or of one shard of it; those tried before are not again.

    With ``address`` workers elsewhere train the trials, with ``jobs`` above 1 as many processes
    here, else this one. With ``known``, folders of shards, none is trained. ``fresh`` forgets what
    was tried. The journal is written after each trial. Raises what training raises, and what
    ``chief.serve`` does.
    """
    if shard != (1, 1) and searched.oracle not in SHARDED:
        raise UserError(f"--shard is for {' and '.join(SHARDED)}: others choose by what they saw")
    folder = plan.folder_of(searched, place.logdir)
    with files.owned(folder):
        if fresh:
            plan.clear(folder)
        tried = plan.read(searched, folder) | plan.joined(searched, known)
        outcomes = {number: each.outcome for number, each in tried.items()}
        elsewhere = _others(shard) if not known else lambda _: True
        oracle = oracles.build(searched, outcomes, elsewhere)
        journal = Journal(searched, folder, oracle, tried, tell)
        if (address or jobs > 1) and not known:
            start = functools.partial(local.workers, searched, place, 0 if address else jobs, limit)
            chief.serve(
                oracle,
                address or "127.0.0.1:0",
                limit=limit,
                patience=patience,
                tell=tell,
                ended=journal.keep,
                workers=start,
            )
        else:
            work(searched, oracle, "here", trainer(searched, place, dataset), ended=journal.keep)
        journal.keep()
        if missing := oracle.expected() - len(journal.tried) if known else 0:
            tell(f"{missing} of {oracle.expected()} trials are missing: in no shard yet")
        return journal.tried


def _others(shard: tuple[int, int]) -> Callable[[int], bool]:
    mine, shards = shard
    return lambda number: number % shards != mine - 1


class Journal:
    """What has been tried, kept in the search's folder as it comes in."""

    def __init__(
        self, searched: Search, folder: Path, oracle: Exact, tried: dict[int, Tried], tell: Tell
    ) -> None:
        self.searched, self.folder, self.oracle, self.tell = searched, folder, oracle, tell
        self.tried, self.begun, self.before = tried, time.monotonic(), len(tried)
        if tried:
            tell(f"{len(tried)} trials are known from before")

    def keep(self) -> None:
        """Take in what has ended since, tell it, and write the journal."""
        with self.oracle.guard:
            values = {
                int(number): oracles.values_of(self.searched, trial)
                for number, trial in self.oracle.trials.items()
            }
            new = {n: o for n, o in self.oracle.outcomes.items() if n not in self.tried}
        for number, known in self.tried.items():
            if number in values and values[number] != known.values:
                raise UserError(
                    f"trial {number} was {known.values}, and now it is {values[number]}: "
                    "KerasTuner is another version, or the journal was edited; --fresh starts over"
                )
        if not new:
            return
        before = len(self.tried)
        self.tried |= {number: Tried(values[number], outcome) for number, outcome in new.items()}
        plan.write(self.searched, self.tried, self.folder)
        for count, number in enumerate(sorted(new), before + 1):
            self.tell(f"[{count}/{self.oracle.expected()}] {self.line(number)}")

    def line(self, number: int) -> str:
        """Return what came of a trial, and how long the rest will take."""
        tried, left = self.tried[number], self.oracle.expected() - len(self.tried)
        space = self.searched.trainer.space
        facts = [f"{d.short}={tried.values[d.name]}" for d in space if d.name in tried.values]
        if EPOCHS in tried.values:
            facts.append(f"{tried.values[EPOCHS]} intervals")
        values = ", ".join(facts)
        steps = [str(step) for step in tried.outcome.diverged if step is not None]
        came = f"{self.searched.trainer.objective} {tried.outcome.score:.4g}"
        ended = f"diverged by step {', '.join(steps)}" if steps else came
        each = (time.monotonic() - self.begun) / (len(self.tried) - self.before)
        ahead = f"; about {each * left / 60:.0f} min left" if left > 0 else ""
        return f"trial {number}: {values}: {ended}{ahead}"


def trainer(searched: Search, place: Place, dataset: Dataset) -> Train:
    """Return what trains a trial's values in this process."""

    def train(values: Mapping[str, Any]) -> Outcome:
        options: dict[str, Any] = {"telemetry": place.telemetry, "tell": lambda _: None}
        return searched.trainer.train(values, place.logdir, dataset, **options)

    return train


def work_for(
    searched: Search,
    place: Place,
    dataset: Dataset,
    address: str,
    limit: float,
    name: str | None = None,
    tell: Tell = lambda _: None,
) -> None:
    """Train what the chief at ``address`` gives out, until it has no more.

    Raises ``ProcessError`` where the chief does not answer within ``limit`` seconds.
    """
    import grpc

    name = name or chief.worker_name()
    oracle = chief.client(address, name, limit)
    train = trainer(searched, place, dataset)

    def told(values: Mapping[str, Any]) -> Outcome:
        outcome = train(values)
        tell(f"{searched.trainer.objective} {outcome.score:.4g}: {values}")
        return outcome

    try:
        work(searched, oracle, name, told, beat=BEAT)
    except grpc.RpcError as error:
        raise ProcessError(
            f"the chief at {address} answers no more ({error.code().name})"
        ) from None
