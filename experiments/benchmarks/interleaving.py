"""Competitors in processes of their own, warmed up and then timed in turns, a round at a time."""

from __future__ import annotations

import select
import socket
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from experiments.benchmarks.competitors import Competitor
from experiments.benchmarks.rounds import RoundResult
from experiments.benchmarks.task import SavedTask
from experiments.harness.runtime import subprocesses
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError

RUN_METHOD = "experiments.benchmarks.rounds:run_method"
POLL_INTERVAL = 0.2  # seconds between checks that a process which has not connected is alive

T = TypeVar("T")


class TimedProcess:
    """A process in which a competitor trains; it ends with the context."""

    def __init__(self, competitor: Competitor, task: SavedTask, folder: Path) -> None:
        self.competitor = competitor
        self.failure: Exception | None = None
        address = str(folder / competitor.name)
        self.arguments = {
            "function": competitor.method.train,
            "address": address,
            "saved_task": asdict(task),
        }
        self.thread = threading.Thread(target=self._call, daemon=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            self.thread.start()
            while not select.select([listener], [], [], POLL_INTERVAL)[0]:
                self._check_alive()
            self.connection = Connection(listener.accept()[0].detach())
        Path(address).unlink()

    def _call(self) -> None:
        try:
            subprocesses.call(
                RUN_METHOD,
                self.arguments,
                backend=self.competitor.backend,
                start=self.competitor.method.start,
            )
        except Exception as error:
            self.failure = error

    def _check_alive(self) -> None:
        """Raise the error of the process if it has ended."""
        if not self.thread.is_alive():
            raise self.failure or ProcessError(f"{self.competitor.name} ended too early")

    def __enter__(self) -> TimedProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.connection.close()
        if kind is None:  # else a round may be under way; the process ends with this one
            self.thread.join()

    def time_round(self) -> RoundResult:
        """Run a round and return its result; raise the error of a process that has ended."""
        try:
            self.connection.send(True)
            return self.connection.recv()
        except (EOFError, OSError):
            self.thread.join()
            self._check_alive()
            raise


def run_interleaved(
    competitors: Sequence[Competitor], task: SavedTask, rounds: int
) -> dict[str, list[RoundResult]]:
    """Time ``rounds`` rounds of each competitor, in turns; return the results by name.

    All processes stay alive throughout. A first round of each, which also compiles, is not counted.
    """
    results: dict[str, list[RoundResult]] = {competitor.name: [] for competitor in competitors}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rounds-")))
        processes = []
        for competitor in competitors:
            processes.append(stack.enter_context(TimedProcess(competitor, task, folder)))
            seconds = processes[-1].time_round().interval
            logger.info(f"{competitor.name}: ready after a first round of {seconds:.1f} s")
        for number in range(rounds):
            for process in _rotate(processes, number):
                results[process.competitor.name].append(process.time_round())
            logger.info(f"round {number + 1} of {rounds}")
    return results


def run_one_at_a_time(
    competitors: Sequence[Competitor], task: SavedTask, rounds: int
) -> dict[str, list[RoundResult]]:
    """Do the same with one process at a time, a new one for each round, to save memory."""
    results: dict[str, list[RoundResult]] = {competitor.name: [] for competitor in competitors}
    for number in range(rounds):
        for competitor in _rotate(competitors, number):
            results[competitor.name] += run_interleaved([competitor], task, 1)[competitor.name]
            logger.info(f"round {number + 1} of {rounds}: {competitor.name}")
    return results


def _rotate(items: Sequence[T], shift: int) -> list[T]:
    """Return the items in cyclic order from position ``shift`` on."""
    first = shift % len(items)
    return [*items[first:], *items[:first]]
