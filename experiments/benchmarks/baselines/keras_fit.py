"""The same model, loss, optimiser and data in a bare ``model.fit``, as in Keras's guides."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.benchmarks.baselines.round_callback import RoundCallback
from experiments.benchmarks.rounds import Rounds
from experiments.benchmarks.task import SEED, Task
from experiments.harness.model import build


class StopCallback(keras.callbacks.Callback):
    """After each epoch, stop unless another round is requested."""

    def __init__(self, rounds: Rounds) -> None:
        super().__init__()
        self.rounds = rounds

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.model.stop_training = not self.rounds.next_round()


def train(task: Task, rounds: Rounds) -> None:
    """Fit on arrays and evaluate, one epoch per round."""
    keras.utils.set_random_seed(SEED)
    model = build.build_compiled(replace(task.arm, metrics=("accuracy",)))
    x, y = task.dataset.train(whole_rounds(task))
    if rounds.next_round():
        model.fit(
            x,
            y,
            batch_size=task.arm.batch_size,
            steps_per_epoch=task.arm.steps,
            epochs=task.arm.intervals,
            validation_data=task.test_examples(),
            validation_batch_size=task.arm.test_batch,
            callbacks=[RoundCallback(rounds), StopCallback(rounds)],
            verbose=0,
        )


def whole_rounds(task: Task) -> NDArray[np.int64]:
    """Return indices of examples for whole rounds: Keras ends an epoch early at the arrays' end."""
    first = task.dataset.held_out_count(task.arm.held_out)
    available = len(task.dataset.x_train) - first
    per_round = task.arm.steps * task.arm.batch_size
    return first + np.arange(max(1, available // per_round) * per_round) % available
