"""The same model, loss, optimiser and data in a bare ``model.fit``, as Keras's guides have it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from experiments.benchmarks.rounds import Rounds
from experiments.benchmarks.task import SEED, Task


def train(task: Task, rounds: Rounds) -> None:
    """Fit on arrays, an epoch a round, and evaluate after each."""
    import keras

    from experiments.benchmarks.baselines.round_callback import RoundCallback
    from experiments.harness.model import build

    class StopCallback(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self.model.stop_training = not rounds.another()

    keras.utils.set_random_seed(SEED)
    model = build.build_compiled(replace(task.arm, metrics=("accuracy",)))
    x, y = task.dataset.train(whole_rounds(task))
    if rounds.another():
        model.fit(
            x,
            y,
            batch_size=task.arm.batch_size,
            steps_per_epoch=task.arm.steps,
            epochs=task.arm.intervals,
            validation_data=task.test(),
            validation_batch_size=task.arm.test_batch,
            callbacks=[RoundCallback(rounds), StopCallback()],
            verbose=0,
        )


def whole_rounds(task: Task) -> NDArray[np.int64]:
    """Return indices of examples for whole rounds: Keras ends an epoch early where arrays end."""
    first, arm = task.dataset.held_out_count(task.arm.held_out), task.arm
    available, per_round = len(task.dataset.x_train) - first, arm.steps * arm.batch_size
    return first + np.arange(max(1, available // per_round) * per_round) % available
