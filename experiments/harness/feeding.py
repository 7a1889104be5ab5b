"""How Keras is given data: on TensorFlow without tf.data's autotuning. Imports keras.

The tuning's thread sleeps for longer and longer, up to a minute, and sometimes what ends an
iterator waits until it wakes: ``fit`` took up to 51 s to end, after trainings of 70 s, where two
processes shared two cores; an evaluation takes a fifth longer with it. Nothing here needs tuning.
"""

from __future__ import annotations

from typing import Any

# Keras documents no adapter, but takes one where it takes data: a test would notice the change.
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.generator_data_adapter import GeneratorDataAdapter

from experiments.harness.data import Examples


class Batches(GeneratorDataAdapter):
    """Batches from a generator."""

    def get_tf_dataset(self) -> Any:
        return _untuned(super().get_tf_dataset())


class Arrays(ArrayDataAdapter):
    """Examples that are fed in order, ``batch_size`` at a time."""

    def __init__(self, examples: Examples, batch_size: int) -> None:
        x, y, *weight = examples
        super().__init__(x, y, sample_weight=weight[0] if weight else None, batch_size=batch_size)

    def get_tf_dataset(self) -> Any:
        return _untuned(super().get_tf_dataset())


def _untuned(dataset: Any) -> Any:
    options = type(dataset.options())()
    options.autotune.enabled = False
    return dataset.with_options(options)
