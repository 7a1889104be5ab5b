"""The same model, loss, optimiser and data in a bare ``model.fit``, as Keras's guides have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.benchmarks.rounds import Rounds
from experiments.benchmarks.task import SEED, Task


def train(given: Task, rounds: Rounds) -> None:
    """Fit on arrays, an interval an epoch, and evaluate after each."""
    import keras

    from experiments.harness.model import build

    class Asking(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self.model.stop_training = not rounds.another()

    keras.utils.set_random_seed(SEED)
    model = build.build_compiled(replace(given.arm, metrics=("accuracy",)))
    x, y = given.dataset.train(_whole(given))
    with noticing(rounds):
        if rounds.another():
            model.fit(
                x,
                y,
                batch_size=given.arm.batch_size,
                steps_per_epoch=given.arm.steps,
                epochs=given.arm.intervals,
                validation_data=given.test(),
                validation_batch_size=given.arm.test_batch,
                callbacks=[Asking()],
                verbose=0,
            )


def _whole(given: Task) -> NDArray[np.int64]:
    """Return examples for whole intervals: Keras ends one early where the arrays end within it."""
    begin, arm = given.dataset.held_out(given.arm.held_out), given.arm
    there, interval = len(given.dataset.x_train) - begin, arm.steps * arm.batch_size
    return begin + np.arange(max(1, there // interval) * interval) % there


@contextmanager
def noticing(rounds: Rounds) -> Iterator[None]:
    """Within the block, tell the rounds whenever Keras turns from training to evaluation."""
    import keras

    evaluate = keras.Model.evaluate

    def noticed(model: keras.Model, *words: Any, **options: Any) -> Any:
        keras.ops.convert_to_numpy(model.trainable_variables[0])  # the steps may be under way still
        rounds.stepped()
        return evaluate(model, *words, **options)

    keras.Model.evaluate = noticed
    try:
        yield
    finally:
        keras.Model.evaluate = evaluate
