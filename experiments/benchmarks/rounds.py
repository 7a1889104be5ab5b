"""The process in which a method trains, one round per request.

A round is an interval of the arm: its training steps, then its evaluation.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection
from typing import Any, Protocol

from numpy.typing import NDArray

from experiments.benchmarks.task import SavedTask, Task, Weights


@dataclass(frozen=True)
class RoundResult:
    """The seconds of a round's training ``steps`` and of the whole ``interval``.

    ``memory`` is the peak so far, in bytes: of the ``host``, and of the ``device`` if there is one.
    """

    steps: float
    interval: float
    memory: dict[str, int]


class Rounds:
    """Wait for requests for rounds, time the rounds, and send the results."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.start = self.steps_end = 0.0

    def next_round(self) -> bool:
        """Send the result of the round before, if any; return whether another one is requested."""
        if self.start:
            now = time.perf_counter()
            steps, interval = self.steps_end - self.start, now - self.start
            self.connection.send(RoundResult(steps, interval, peak_memory()))
        try:
            self.connection.recv()
        except EOFError:  # the other end is closed
            return False
        self.start, self.steps_end = time.perf_counter(), 0.0
        return True

    def end_steps(self) -> None:
        """Record the end of the round's training steps; only its first call in a round counts."""
        self.steps_end = self.steps_end or time.perf_counter()


class Loop(Protocol):
    """A hand-written training loop for a task."""

    def step(self, number: int) -> None:
        """Train on batch ``number``, counted from 0."""

    def finish_steps(self) -> list[float]:
        """Wait for the steps since the last call, and return the means of their metrics."""

    def evaluate(self) -> list[float]:
        """Return the mean loss and the accuracy on the test examples."""

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the network's logits for images ``(batch, 28, 28, 1)``."""

    def weights(self) -> Weights:
        """Return the weights, with names and layout as in the task's."""


def run_rounds(loop: Loop, task: Task, rounds: Rounds) -> None:
    """Run the loop for as many rounds as are requested."""
    number = 0
    while rounds.next_round():
        for _ in range(task.arm.steps):
            loop.step(number)
            number += 1
        loop.finish_steps()
        rounds.end_steps()
        loop.evaluate()


def run_method(function: str, address: str, saved_task: Mapping[str, Any]) -> None:
    """Train by ``function`` (``module:name``); requests for rounds come from ``address``."""
    with Client(address, "AF_UNIX") as connection:
        module, _, name = function.partition(":")
        train = getattr(importlib.import_module(module), name)
        train(SavedTask(**saved_task).load(), Rounds(connection))


def peak_memory() -> dict[str, int]:
    """Return this process's peak memory so far in bytes: ``host``, and ``device`` if it has one."""
    unit = 1 if sys.platform == "darwin" else 1024
    host = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    device = _device_memory()
    return {"host": host, "device": device} if device else {"host": host}


def _device_memory() -> int:
    """Return the peak memory on the backend's accelerator in bytes, 0 without one."""
    backend = os.environ["KERAS_BACKEND"]
    module = sys.modules.get(backend)
    if module is None:
        return 0
    if backend == "torch":
        return module.cuda.max_memory_allocated() if module.cuda.is_available() else 0
    if backend == "jax":
        device = module.devices()[0]
        return 0 if device.platform == "cpu" else device.memory_stats()["peak_bytes_in_use"]
    if not module.config.list_physical_devices("GPU"):
        return 0
    return module.config.experimental.get_memory_info("GPU:0")["peak"]
