"""A process holds nothing of the runs that it has made. Import after ``determinism.start()``."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def release_models() -> Iterator[None]:
    """Let go of what TensorFlow would hold for ever of a model that is trained within the block.

    Keras's optimiser sums each gradient over the devices, be there one; TensorFlow registers a
    function for the gradient of that sum, and through it holds the graph, the model and the
    optimiser: 33 MiB for each run of the miniature CNN. The cause is
    https://github.com/tensorflow/tensorflow/issues/97697; TensorFlow 2.21 still has it.
    """
    registered = _registered()
    before = {*registered}
    try:
        yield
    finally:
        for name in {*registered} - before:
            del registered[name]


def _registered() -> MutableMapping[str, Any]:
    """Return TensorFlow's gradient functions by name; they are in no public interface."""
    if keras.backend.backend() != "tensorflow":
        return {}
    from tensorflow.python.framework import ops

    return getattr(ops.gradient_registry, "_registry", {})
