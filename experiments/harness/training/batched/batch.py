"""A batch of runs during training: one model, which holds the values of one run at a time."""

from __future__ import annotations

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
from experiments.harness.spec import RunSpec, batching
from experiments.harness.training.batched.jax_programs import (
    ModelState,
    Program,
    SequentialProgram,
    VmapProgram,
    get_state,
    set_state,
)
from experiments.harness.training.callbacks import CheckpointCallback
from experiments.harness.training.stopwatch import Elapsed, Stopwatch

Tensors = Mapping[str, NDArray[Any]]


@dataclass
class BatchMember:
    """One run of the batch: its callbacks, and the current values of its variables."""

    spec: RunSpec
    directory: Path
    saving: CheckpointCallback
    callbacks: Sequence[keras.callbacks.Callback]
    values: ModelState

    def indices(self, dataset: Dataset, interval: int) -> NDArray[np.int64]:
        """Return the indices of an interval's examples, ``(steps, batch)``, and record them."""
        spec, arm, rows = self.spec, self.spec.arm, []
        for step in range(interval * arm.steps, (interval + 1) * arm.steps):
            rows.append(order.batch_indices(dataset, spec.seed, step, arm.batch_size, arm.held_out))
            self.saving.record_batch(step, rows[-1])
        return np.stack(rows)


class RunBatch:
    """Members that have finished the same number of intervals."""

    def __init__(
        self, model: keras.Model, members: Sequence[BatchMember], dataset: Dataset
    ) -> None:
        self.model, self.members, self.dataset = model, members, dataset
        self.arm = members[0].spec.arm

    @property
    def done(self) -> int:
        """The number of finished intervals."""
        return self.members[0].saving.checkpoint.interval

    @property
    def should_stop(self) -> bool:
        """Whether one of the members is to stop at its checkpoint."""
        return any(member.saving.should_stop for member in self.members)

    def program(self) -> Program:
        """Return the program that trains the members."""
        specs = [member.spec for member in self.members]
        if specs[0].environment[batching.FIELD] == batching.IN_TURN:
            return SequentialProgram(self.model, self.dataset, self.arm)
        places, sizes = zip(*map(batching.position, specs), strict=True)
        return VmapProgram(self.model, self.dataset, self.arm, places, sizes[0])

    def swap_in(self) -> Iterator[BatchMember]:
        """Yield each member while the model holds its values."""
        for member in self.members:
            set_state(self.model, member.values)
            yield member
            member.values = get_state(self.model)  # a callback may have changed or consumed them

    def call(self, event: str) -> None:
        """Call a method such as ``on_train_begin`` of each member's callbacks."""
        for member in self.swap_in():
            for callback in member.callbacks:
                getattr(callback, event)()

    def train_interval(self, program: Program) -> float:
        """Train the next interval and save it; return the seconds that it took by the clock."""
        interval, stopwatch = self.done, Stopwatch()
        for member in self.swap_in():
            self.model.reset_metrics()
            for callback in member.callbacks:
                callback.on_epoch_begin(interval)
        logs = self._train_and_test(program, interval)
        tensors = []
        for member, metrics in zip(self.swap_in(), logs, strict=True):
            for callback in member.callbacks:
                callback.on_epoch_end(interval, metrics)
            tensors.append(variables.read(self.model))
        elapsed = stopwatch.elapsed()
        self._save(interval, tensors, logs, elapsed.share(len(self.members)))
        return elapsed.seconds

    def _train_and_test(self, program: Program, interval: int) -> list[dict[str, float]]:
        """Take the interval's steps, evaluate the test split, and return each member's logs."""
        indices = [member.indices(self.dataset, interval) for member in self.members]
        trained = program.train([member.values for member in self.members], indices)
        logs = [self._metrics(values) for values in trained]
        self.model.reset_metrics()
        *_, fresh = get_state(self.model)
        tested = program.test([(*values[:-1], fresh) for values in trained])
        for member, values, metrics in zip(self.members, tested, logs, strict=True):
            metrics |= {f"val_{name}": value for name, value in self._metrics(values).items()}
            member.values = values
        return logs

    def _metrics(self, values: ModelState) -> dict[str, float]:
        set_state(self.model, values)
        return {name: float(value) for name, value in self.model.get_metrics_result().items()}

    def _save(
        self,
        interval: int,
        tensors: Sequence[Tensors],
        logs: Sequence[Mapping[str, float]],
        elapsed: Elapsed,
    ) -> None:
        """Save the members' checkpoints, in threads: hashing and writing take most of the time."""

        def save(member: BatchMember, values: Tensors, metrics: Mapping[str, float]) -> None:
            member.saving.save(interval, values, metrics, elapsed)

        with ThreadPoolExecutor(cpu.available_count()) as pool:
            for _ in pool.map(save, self.members, tensors, logs):
                pass  # raises here if a save raised
