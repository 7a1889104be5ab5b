"""Peers in processes of their own, warmed up and then asked for a round each, in turns."""

from __future__ import annotations

import select
import socket
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from experiments.benchmarks.competitors import Competitor
from experiments.harness.runtime import subprocesses
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError

WORK = "experiments.benchmarks.rounds:work"
PATIENCE = 0.2  # seconds between looks at whether a process that is to call has died

Told = dict[str, Any]  # of a round: seconds of its ``steps`` and of the ``interval``, ``memory``


class TimedProcess:
    """A peer at work in a process of its own, which ends with the context."""

    def __init__(self, peer: Competitor, request: Mapping[str, Any], folder: Path) -> None:
        self.peer = peer
        self.failure: Exception | None = None
        address = str(folder / peer.name)
        self.arguments = {"way": peer.way.train, "address": address, **request}
        self.thread = threading.Thread(target=self._call, daemon=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            self.thread.start()
            while not select.select([listener], [], [], PATIENCE)[0]:
                self._check()
            self.connection = Connection(listener.accept()[0].detach())
        Path(address).unlink()

    def _call(self) -> None:
        try:
            way, backend = self.peer.way, self.peer.backend
            subprocesses.call(WORK, self.arguments, backend=backend, start=way.start)
        except Exception as error:
            self.failure = error

    def _check(self) -> None:
        """Raise what the process ended with, if it has."""
        if not self.thread.is_alive():
            raise self.failure or ProcessError(f"{self.peer.name} ended before its time")

    def __enter__(self) -> TimedProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.connection.close()
        if kind is None:  # else it may be in the midst of a round; it ends with this process
            self.thread.join()

    def round(self) -> Told:
        """Ask for a round, wait, and return what it took; raises what the process ended with."""
        try:
            self.connection.send(True)
            return self.connection.recv()
        except (EOFError, OSError):
            self.thread.join()
            self._check()
            raise


def run_interleaved(
    peers: Sequence[Competitor],
    request: Mapping[str, Any],
    rounds: int,
) -> dict[str, list[Told]]:
    """Return what each of ``rounds`` rounds took each peer, all at work at once, asked in turns.

    A first round each, which also compiles, does not count. ``request`` are the ``arm`` (JSON
    types), the ``source`` of its data, and the ``folder`` that its weights are in.
    """
    told: dict[str, list[Told]] = {peer.name: [] for peer in peers}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        contestants = []
        for peer in peers:
            contestants.append(stack.enter_context(TimedProcess(peer, request, folder)))
            seconds = contestants[-1].round()["interval"]
            logger.info(f"{peer.name}: ready, its first round took {seconds:.1f} s")
        for number in range(rounds):
            for contestant in _turned(contestants, number):
                told[contestant.peer.name].append(contestant.round())
            logger.info(f"round {number + 1} of {rounds}")
    return told


def run_one_at_a_time(
    peers: Sequence[Competitor],
    request: Mapping[str, Any],
    rounds: int,
) -> dict[str, list[Told]]:
    """Do the same with one process at a time, begun anew for each round: as memory may demand."""
    told: dict[str, list[Told]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        for peer in _turned(peers, number):
            found = run_interleaved([peer], request, 1)
            told[peer.name] += found[peer.name]
            logger.info(f"round {number + 1} of {rounds}: {peer.name}")
    return told


def _turned(items: Sequence[Any], places: int) -> list[Any]:
    """Return the items from another one on, so that none always comes after the same."""
    first = places % len(items)
    return [*items[first:], *items[:first]]
