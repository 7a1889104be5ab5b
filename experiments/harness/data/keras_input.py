"""How Keras is given data: on TensorFlow several batches at a time, and untuned. Imports keras.

Each time that tf.data asks Python takes from the steps that are under way: a batch at a time it is
a seventh of a step of AlexNet's miniature, and a twentieth of the MNIST CNN's.

Its autotuning's thread sleeps for longer and longer, up to a minute, and sometimes what ends an
iterator waits until it wakes: ``fit`` took up to 51 s to end, after trainings of 70 s, where two
processes shared two cores; an evaluation takes a fifth longer with it. Nothing here needs tuning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

# Keras documents no adapter, but takes one where it takes data: a test would notice the change.
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.data_adapter_utils import get_tensor_spec
from keras.src.trainers.data_adapters.generator_data_adapter import GeneratorDataAdapter
from keras.src.utils.module_utils import tensorflow  # imports it where it is needed

from experiments.harness.data.dataset import Examples

AT_A_TIME = 16


class Batches(GeneratorDataAdapter):
    """Batches from a generator, all of one size; on TensorFlow it is asked for some ahead."""

    def get_tf_dataset(self) -> Any:
        several = tensorflow.data.Dataset.from_generator(
            lambda: _several(self.generator()),
            output_signature=tuple(
                tensorflow.TensorSpec((None, *spec.shape), spec.dtype)
                for spec in get_tensor_spec(self._first_batches)
            ),
        )
        return _untuned(several.prefetch(1).unbatch().prefetch(1))


def _several(batches: Iterable[Examples]) -> Iterator[Examples]:
    """Yield the batches ``AT_A_TIME``, each part of the examples as one array of them."""
    ahead = iter(batches)
    while chunk := list(islice(ahead, AT_A_TIME)):
        yield tuple(np.stack(parts) for parts in zip(*chunk, strict=True))


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
