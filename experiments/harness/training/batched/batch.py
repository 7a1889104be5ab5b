"""The runs of a group while they are trained together: one model, lent to one at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness.data import order
from experiments.harness.data.dataset import Dataset
from experiments.harness.model import variables
from experiments.harness.runtime import cpu
from experiments.harness.spec import Run, batching
from experiments.harness.training.batched.jax_programs import (
    ModelState,
    Program,
    SequentialProgram,
    VmapProgram,
    get_state,
    set_state,
)
from experiments.harness.training.callbacks import CheckpointCallback

Tensors = Mapping[str, NDArray[Any]]


@dataclass
class BatchMember:
    """A run, what keeps and watches it, and the values of its variables now."""

    run: Run
    directory: Path
    keeper: CheckpointCallback
    watchers: Sequence[keras.callbacks.Callback]
    values: ModelState

    @property
    def enough(self) -> bool:
        """Whether its state is enough for whoever asked for it."""
        return self.keeper.enough(self.keeper.state)

    def indices(self, dataset: Dataset, interval: int) -> NDArray[np.int64]:
        """Return the interval's examples, steps by batch; the keeper notes them."""
        run, arm, rows = self.run, self.run.arm, []
        for step in range(interval * arm.steps, (interval + 1) * arm.steps):
            rows.append(order.batch_indices(dataset, run.seed, step, arm.batch_size, arm.held_out))
            self.keeper.fed(step, rows[-1])
        return np.stack(rows)


class RunBatch:
    """Members that have come as far as each other."""

    def __init__(
        self, model: keras.Model, members: Sequence[BatchMember], dataset: Dataset
    ) -> None:
        self.model, self.members, self.dataset = model, members, dataset
        self.arm = members[0].run.arm

    @property
    def done(self) -> int:
        """The number of finished intervals."""
        return self.members[0].keeper.state.interval

    @property
    def enough(self) -> bool:
        """Whether the state of one of them is."""
        return any(member.enough for member in self.members)

    def program(self) -> Program:
        """Return the program that trains them."""
        runs = [member.run for member in self.members]
        if runs[0].environment[batching.FIELD] == batching.IN_TURN:
            return SequentialProgram(self.model, self.dataset, self.arm)
        places, sizes = zip(*map(batching.position, runs), strict=True)
        return VmapProgram(self.model, self.dataset, self.arm, places, sizes[0])

    def lent(self) -> Iterator[BatchMember]:
        """Yield each member while the model has its values."""
        for member in self.members:
            set_state(self.model, member.values)
            yield member
            member.values = get_state(self.model)  # a callback may give it others, or use these up

    def watched(self, event: str) -> None:
        """Tell each member's callbacks of an ``event``, such as ``on_train_begin``."""
        for member in self.lent():
            for watcher in member.watchers:
                getattr(watcher, event)()

    def train(self, program: Program) -> float:
        """Train and keep the next interval; return the seconds that training took."""
        interval, clock = self.done, time.perf_counter()
        for member in self.lent():
            self.model.reset_metrics()
            for watcher in member.watchers:
                watcher.on_epoch_begin(interval)
        logs = self._trained(program, interval)
        found = []
        for member, told in zip(self.lent(), logs, strict=True):
            for watcher in member.watchers:
                watcher.on_epoch_end(interval, told)
            found.append(variables.read(self.model))
        seconds = time.perf_counter() - clock
        self._keep(interval, found, logs, seconds / len(self.members))
        return seconds

    def _trained(self, program: Program, interval: int) -> list[dict[str, float]]:
        """Take the interval's steps and evaluate the test split; return what ``fit`` logs."""
        indices = [member.indices(self.dataset, interval) for member in self.members]
        trained = program.train([member.values for member in self.members], indices)
        logs = [self._results(values) for values in trained]
        self.model.reset_metrics()
        *_, fresh = get_state(self.model)
        tested = program.test([(*values[:-1], fresh) for values in trained])
        for member, values, told in zip(self.members, tested, logs, strict=True):
            told |= {f"val_{name}": value for name, value in self._results(values).items()}
            member.values = values
        return logs

    def _results(self, values: ModelState) -> dict[str, float]:
        set_state(self.model, values)
        return {name: float(value) for name, value in self.model.get_metrics_result().items()}

    def _keep(
        self,
        interval: int,
        found: Sequence[Tensors],
        logs: Sequence[Mapping[str, float]],
        seconds: float,
    ) -> None:
        """Keep what each came to, several at a time: most of it is hashing and writing."""

        def keep(member: BatchMember, values: Tensors, told: Mapping[str, float]) -> None:
            member.keeper.keep(interval, values, told, seconds)

        with ThreadPoolExecutor(cpu.available()) as pool:
            for _ in pool.map(keep, self.members, found, logs):
                pass  # what one of them raises is raised here
