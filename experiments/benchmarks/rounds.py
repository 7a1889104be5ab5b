"""A way of training in a process of its own, which does a round when it is asked for one.

A round is an interval as documented: its training steps, and then its evaluation.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import Client, Connection
from typing import Any, Protocol

from numpy.typing import NDArray

from experiments.benchmarks import task
from experiments.benchmarks.task import Task, Weights


class Rounds:
    """What a way of training asks whether it is to go on; both ends of a round are timed here."""

    def __init__(self, conductor: Connection) -> None:
        self.conductor = conductor
        self.began = self.steps = 0.0

    def another(self) -> bool:
        """Tell the round that has ended, if any; wait, and return whether there is another."""
        if self.began:
            now = time.perf_counter()
            told = {"steps": self.steps - self.began, "interval": now - self.began}
            self.conductor.send(told | {"memory": peak_memory()})
        try:
            self.conductor.recv()
        except EOFError:  # whoever asked has gone
            return False
        self.began, self.steps = time.perf_counter(), 0.0
        return True

    def stepped(self) -> None:
        """Note that the round's training steps are done, and only its evaluation is left.

        The first of several such notes counts.
        """
        self.steps = self.steps or time.perf_counter()


class Loop(Protocol):
    """A hand-written training: what its way makes of the task."""

    def step(self, number: int) -> None:
        """Train on the batch of that number, from 0."""

    def trained(self) -> list[float]:
        """Return what it tells of the steps since it was asked before, once they are done."""

    def evaluate(self) -> list[float]:
        """Return the mean loss and the accuracy of the test examples."""

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return what the network says of images ``(batch, 28, 28, 1)``."""

    def weights(self) -> Weights:
        """Return the weights under the names and in the layout of the task's."""


def repeat(loop: Loop, given: Task, rounds: Rounds) -> None:
    """Do a round of the loop for each that is asked for."""
    number = 0
    while rounds.another():
        for _ in range(given.arm.steps):
            loop.step(number)
            number += 1
        loop.trained()
        rounds.stepped()
        loop.evaluate()


def work(way: str, address: str, arm: Mapping[str, Any], source: str, folder: str) -> None:
    """Train in this process by the function ``way`` (``module:name``), as ``address`` asks for."""
    with Client(address, "AF_UNIX") as conductor:
        module, _, name = way.partition(":")
        train = getattr(importlib.import_module(module), name)
        train(task.load_task(arm, source, folder), Rounds(conductor))


def peak_memory() -> dict[str, int]:
    """Return the most bytes that this process has held so far: of memory, and of its device."""
    unit = 1 if sys.platform == "darwin" else 1024
    host = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"host": host, "device": _device_memory()}
    return {where: size for where, size in found.items() if size}


def _device_memory() -> int:
    """Return the peak on an accelerator of the backend that this process was started for."""
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
