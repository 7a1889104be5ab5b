"""The callback that divides a ``fit`` into rounds."""

from __future__ import annotations

import keras

from experiments.benchmarks.rounds import Rounds
from experiments.harness.model.variables import to_numpy


class RoundCallback(keras.callbacks.Callback):
    """Record the end of each epoch's training steps when its evaluation begins."""

    def __init__(self, rounds: Rounds) -> None:
        super().__init__()
        self.rounds = rounds

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        to_numpy(self.model.trainable_variables[0])  # waits for the last step
        self.rounds.end_steps()
