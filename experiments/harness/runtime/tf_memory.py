"""Release models after training. Import after ``determinism.start()``."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def release_models() -> Iterator[None]:
    """Release the models trained within the block, which TensorFlow would otherwise keep forever.

    Keras's optimizer sums each gradient over the devices, even if there is one. TensorFlow
    registers a gradient function for that sum, which holds the graph, the model and the optimizer:
    33 MiB for each run of the miniature CNN. TensorFlow 2.21 still has the bug:
    https://github.com/tensorflow/tensorflow/issues/97697.
    """
    registry = _gradient_registry()
    before = {*registry}
    try:
        yield
    finally:
        for name in {*registry} - before:
            del registry[name]


def _gradient_registry() -> MutableMapping[str, Any]:
    """Return TensorFlow's gradient functions by name; no public interface offers them."""
    if keras.backend.backend() != "tensorflow":
        return {}
    from tensorflow.python.framework import ops

    return getattr(ops.gradient_registry, "_registry", {})
