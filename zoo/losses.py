"""The documents' losses, as written there."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="zoo")
class BareLogCrossentropy(keras.losses.Loss):
    """Cross-entropy as document 002 writes it: ``-sum(y * log(softmax(logits)))``, a bare log.

    Where one softmax output underflows to 0, a label of 0 times its logarithm is ``0 * -inf``:
    NaN in the loss and in every gradient, although the sample may be classified with certainty.
    ``keras.losses.SparseCategoricalCrossentropy(from_logits=True)`` is the same function without
    that defect. Takes integer labels of shape ``(batch,)`` and logits ``(batch, classes)``.
    """

    def __init__(
        self,
        reduction: str = "sum",
        name: str = "bare_log_crossentropy",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true, y_pred):
        labels = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
        return -ops.sum(labels * ops.log(ops.softmax(y_pred)), axis=-1)
