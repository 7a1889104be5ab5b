"""A run's training once more, step by step within one interval, to the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.data import order
from experiments.harness.data.dataset import Dataset, Examples
from experiments.harness.data.keras_input import Batches
from experiments.harness.model import variables
from experiments.harness.model.build import build_for_run
from experiments.harness.spec import Run
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.training.callbacks import RandomStateCallback

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Step:
    """What one step took and what it left.

    ``number`` counts from 1; ``indices`` are the examples' places in the training split, ``batch``
    the examples; ``loss`` is the batch's, before the update; ``before`` and ``after`` are the
    values of all variables, by path.
    """

    number: int
    indices: NDArray[np.int64]
    batch: Examples
    loss: float
    before: Tensors
    after: Tensors

    @property
    def finite(self) -> bool:
        """Whether the loss and every variable after the step are."""
        left = [value for value in self.after.values() if value.dtype.kind == "f"]
        return bool(np.isfinite(self.loss) and all(np.isfinite(value).all() for value in left))


class Stepper:
    """A run's model after ``done`` steps, taken on step by step as far as its interval's ``end``.

    ``begun`` is the state at the end of an interval; the next one's steps can be taken. What
    follows them, evaluation, is left out: it may draw random numbers too, so that the next interval
    begins from a state of its own.
    """

    def __init__(self, run: Run, dataset: Dataset, begun: Checkpoint) -> None:
        self.run, self.dataset = run, dataset
        self.done = begun.interval * run.arm.steps
        self.end = self.done + run.arm.steps
        self.model, learning_rate = build_for_run(run)
        variables.write(self.model, begun.tensors)
        self.model.optimizer.learning_rate = learning_rate(begun.interval)

    def tensors(self) -> Tensors:
        """Return the values of all variables now, by path."""
        return variables.read(self.model)

    def advance(self, to: int) -> float:
        """Take the steps up to and with number ``to``, at least one; return their mean loss."""
        assert self.done < to <= self.end, f"step {to} is not after {self.done} up to {self.end}"
        arm = self.run.arm
        history = self.model.fit(
            Batches(
                order.batches(self.dataset, self.run.seed, arm.batch_size, self.done, arm.held_out)
            ),
            steps_per_epoch=to - self.done,
            shuffle=False,
            callbacks=[RandomStateCallback(self.tensors())],
            verbose=0,
        )
        self.done = to
        return float(history.history["loss"][0])

    def take(self) -> Step:
        """Take one step, and return it."""
        arm, before = self.run.arm, self.tensors()
        chosen = order.batch_indices(
            self.dataset, self.run.seed, self.done, arm.batch_size, arm.held_out
        )
        loss = self.advance(self.done + 1)
        batch = self.dataset.train(chosen)
        return Step(self.done, chosen, batch, loss, before, self.tensors())
