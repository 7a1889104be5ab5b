"""Metrics that Keras lacks."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class LogitGap(keras.metrics.Metric):
    """Track the largest finite gap between two logits of one sample; NaN if none is finite.

    In float32, softmax underflows to a probability of exactly 0 at a gap of 87 (TensorFlow on a
    CPU) to 104 (PyTorch on a CPU).
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


CUSTOM_METRICS = {"logit_gap": LogitGap}  # metrics that an arm may name besides Keras's
