"""Data in the form that Keras trains fastest on. Import it only after ``determinism.start()``.

On TensorFlow that is a ``tf.data.Dataset`` with two departures from what Keras builds itself:

- A Python generator yields several batches at a time. One at a time costs a seventh of a step
  of AlexNet's miniature, and a twentieth of the MNIST CNN's.
- Autotuning is off. Its thread sleeps for up to a minute, and ending an iterator may wait for it:
  ``fit`` took up to 51 s to return after 70 s of training in two processes on two cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import keras
import numpy as np

from experiments.harness.data.dataset import Examples

BATCHES_AT_A_TIME = 16


def training_input(batches: Iterator[Examples]) -> Any:
    """Return an endless sequence of batches, all of one size, as an input of ``fit``."""
    return _from_batches(batches) if keras.backend.backend() == "tensorflow" else batches


def evaluation_input(examples: Examples, batch_size: int) -> Any:
    """Return examples, in order and ``batch_size`` at a time, as an input of ``evaluate``."""
    if keras.backend.backend() == "tensorflow":
        return _from_examples(examples, batch_size)
    return Slices(examples, batch_size)


def epoch_input(of_epoch: Callable[[], Iterator[Any]], first: Sequence[Any], one_size: bool) -> Any:
    """Return the batches of an epoch as a ``tf.data.Dataset``; ``of_epoch`` is called in each.

    ``first`` are some batches, nested arrays, that show types and shapes. The sizes of later ones
    may differ along the first axis and, unless ``one_size``, along those that differ in ``first``.
    """
    import tensorflow as tf

    def signature(*parts: Any) -> Any:
        shapes = zip(*(part.shape[1:] for part in parts), strict=True)
        inner = [sizes[0] if len({*sizes}) == 1 else None for sizes in shapes]
        several = (None,) if one_size else ()
        return tf.TensorSpec((*several, None, *inner), parts[0].dtype)

    arrays = [keras.tree.map_structure(np.asarray, batch) for batch in first]
    spec = keras.tree.map_structure(signature, *arrays)
    if one_size:
        several = tf.data.Dataset.from_generator(
            lambda: _stacked(of_epoch()), output_signature=spec
        )
        return _without_autotuning(several.prefetch(1).unbatch().prefetch(1))
    return _without_autotuning(
        tf.data.Dataset.from_generator(of_epoch, output_signature=spec).prefetch(1)
    )


def redrawn_parts(dataset: Any) -> list[str]:
    """Return the operations by which a ``tf.data.Dataset`` may differ from epoch to epoch.

    These are shuffles, random operations and Python functions.
    """
    import tensorflow as tf

    graph = tf.raw_ops.DatasetToGraphV2(
        input_dataset=dataset._variant_tensor, external_state_policy=1, strip_device_assignment=True
    )
    definition = tf.compat.v1.GraphDef.FromString(graph.numpy())
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    return sorted({node.op for node in nodes if _redraws(node)})


def _redraws(node: Any) -> bool:
    if node.op.startswith("Shuffle") and "reshuffle_each_iteration" in node.attr:
        return bool(node.attr["reshuffle_each_iteration"].b)
    return node.op.startswith("Random") or any(
        part in node.op for part in ("Shuffle", "PyFunc", "GeneratorDataset", "StatefulUniform")
    )


class Slices(keras.utils.PyDataset):
    """Arrays of examples, cut into batches."""

    def __init__(self, examples: Examples, batch_size: int) -> None:
        super().__init__()
        self.examples, self.size = examples, batch_size

    def __len__(self) -> int:
        return -(-len(self.examples[0]) // self.size)

    def __getitem__(self, index: int) -> Examples:
        batch = slice(index * self.size, (index + 1) * self.size)
        return tuple(part[batch] for part in self.examples)


def _from_batches(batches: Iterator[Examples]) -> Any:
    import tensorflow as tf

    first = next(batches)
    remaining = chain([first], batches)
    several = tf.data.Dataset.from_generator(
        lambda: _stacked(remaining),
        output_signature=tuple(
            tf.TensorSpec((None, None, *part.shape[1:]), part.dtype) for part in first
        ),
    )
    return _without_autotuning(several.prefetch(1).unbatch().prefetch(1))


def _from_examples(examples: Examples, batch_size: int) -> Any:
    import tensorflow as tf

    return _without_autotuning(tf.data.Dataset.from_tensor_slices(examples).batch(batch_size))


def _stacked(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield several batches at a time, each of their parts stacked into one array."""
    iterator = iter(batches)
    while chunk := list(islice(iterator, BATCHES_AT_A_TIME)):
        yield keras.tree.map_structure(lambda *parts: np.stack(parts), *chunk)


def _without_autotuning(dataset: Any) -> Any:
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
