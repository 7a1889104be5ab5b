"""Metrics that Keras does not have."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class LogitGap(keras.metrics.Metric):
    """The largest finite gap between two logits of one sample; NaN where none was finite.

    From a gap of 87 (TensorFlow on a CPU) to 104 (PyTorch there) on, float32's softmax gives the
    smaller one a probability of exactly 0.
    """

    def __init__(self, name: str = "logit_gap", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.largest = self.add_variable((), "zeros", name="largest")
        self.reset_state()

    def update_state(self, y_true, y_pred, sample_weight=None):
        gaps = ops.max(y_pred, axis=-1) - ops.min(y_pred, axis=-1)
        finite = ops.where(ops.isfinite(gaps), gaps, -1.0)
        self.largest.assign(ops.maximum(self.largest, ops.max(finite)))

    def result(self):
        largest = ops.convert_to_tensor(self.largest)
        return ops.where(largest < 0, float("nan"), largest)

    def reset_state(self) -> None:
        self.largest.assign(-1.0)


CUSTOM = {"logit_gap": LogitGap}  # what an arm may name beside Keras's metrics
