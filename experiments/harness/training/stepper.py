"""A run's training repeated step by step within one interval, to the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.data import order
from experiments.harness.data.dataset import Dataset, Examples
from experiments.harness.data.keras_input import training_input
from experiments.harness.model import variables
from experiments.harness.model.build import build_for_run
from experiments.harness.spec import RunSpec
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.training.callbacks import RandomStateCallback

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Step:
    """One training step.

    ``number`` counts from 1; ``indices`` locate the examples of ``batch`` in the training split;
    ``loss`` is the batch's before the update; ``before`` and ``after`` are the values of all
    variables by path.
    """

    number: int
    indices: NDArray[np.int64]
    batch: Examples
    loss: float
    before: Tensors
    after: Tensors

    @property
    def finite(self) -> bool:
        """Whether the loss and all variables after the step are finite."""
        left = [value for value in self.after.values() if value.dtype.kind == "f"]
        return bool(np.isfinite(self.loss) and all(np.isfinite(value).all() for value in left))


class Stepper:
    """A run's model after ``done`` steps; it can step on to the ``end`` of the interval.

    Built from the checkpoint before that interval. The evaluation after an interval is not
    repeated: it may draw random numbers too, so that the next interval needs its own checkpoint.
    """

    def __init__(self, spec: RunSpec, dataset: Dataset, first: Checkpoint) -> None:
        self.spec, self.dataset = spec, dataset
        self.done = first.interval * spec.arm.steps
        self.end = self.done + spec.arm.steps
        self.model, learning_rate = build_for_run(spec, dataset)
        variables.write(self.model, first.tensors)
        if learning_rate:
            self.model.optimizer.learning_rate = learning_rate(first.interval)

    def tensors(self) -> Tensors:
        """Return the current values of all variables by path."""
        return variables.read(self.model)

    def advance(self, to: int) -> float:
        """Take the steps up to and including number ``to``, at least one; return the mean loss."""
        assert self.done < to <= self.end, f"step {to} is not after {self.done} up to {self.end}"
        arm = self.spec.arm
        batches = order.batches(
            self.dataset, self.spec.seed, arm.batch_size, self.done, arm.held_out
        )
        history = self.model.fit(
            training_input(batches),
            steps_per_epoch=to - self.done,
            shuffle=False,
            callbacks=[RandomStateCallback(self.tensors())],
            verbose=0,
        )
        self.done = to
        return float(history.history["loss"][0])

    def take(self) -> Step:
        """Take one step and return it."""
        arm, before = self.spec.arm, self.tensors()
        indices = order.batch_indices(
            self.dataset, self.spec.seed, self.done, arm.batch_size, arm.held_out
        )
        loss = self.advance(self.done + 1)
        return Step(self.done, indices, self.dataset.train(indices), loss, before, self.tensors())
