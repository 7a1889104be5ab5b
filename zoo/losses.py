"""The losses of the documents, as they define them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="zoo")
class BareLogCrossentropy(keras.losses.Loss):
    """Cross-entropy with a bare logarithm: ``-sum(y * log(factor * softmax(logits) + shift))``.

    Takes integer labels ``(batch,)`` and logits ``(batch, classes)``. Source: documents 000 and
    002. In document 000's code ``factor`` is 1e-7; in its prose that is added, as ``shift``.

    If a softmax output underflows to 0 and ``shift`` is 0, a label of 0 times its logarithm is
    ``0 * -inf``: NaN in the loss and in every gradient, even if the sample is classified with
    certainty.
    ``keras.losses.SparseCategoricalCrossentropy(from_logits=True)`` is the same function without
    that defect. ``reasons`` explains, by term, why it is the first that is not finite.
    """

    reasons: Mapping[str, str] = {
        "log": "a softmax output underflowed to zero and its logarithm is -inf; times a label of "
        "zero that is NaN",
    }

    def __init__(
        self,
        reduction: str = "sum",
        factor: float = 1.0,
        shift: float = 0.0,
        name: str = "bare_log_crossentropy",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.factor, self.shift = factor, shift

    def call(self, y_true, y_pred):
        return -ops.sum(self.terms(y_true, y_pred)["label_times_log"], axis=-1)

    def terms(self, y_true, y_pred) -> dict[str, Any]:
        """Return the inner terms ``(batch, classes)``, in the order of their computation."""
        labels = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
        softmax = ops.softmax(y_pred)
        scaled = self.factor * softmax
        log = ops.log(scaled + self.shift if self.shift else scaled)
        return {"softmax": softmax, "log": log, "label_times_log": labels * log}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor, "shift": self.shift}


@keras.saving.register_keras_serializable(package="zoo")
class RootOfSquare(keras.losses.Loss):
    """Absolute error as a root: ``sqrt((y - prediction) ** 2)``.

    Takes values ``(batch,)`` and predictions ``(batch, 1)``. A sample's weight is its confidence;
    the mean is over the samples, not over the weights. Source: document 003.

    If a prediction is exact, its gradient is ``inf * 0``: NaN. ``reasons`` explains why a gradient
    is not finite although the loss is.
    """

    reasons: Mapping[str, str] = {
        "gradient": "if a prediction is exact, the root's derivative is inf and the square's is 0; "
        "inf * 0 is NaN",
    }

    def __init__(
        self,
        reduction: str = "sum_over_batch_size",
        name: str = "root_of_square",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true, y_pred):
        return self.terms(y_true, y_pred)["root"]

    def terms(self, y_true, y_pred) -> dict[str, Any]:
        """Return the inner terms ``(batch,)``, in the order of their computation."""
        difference = ops.reshape(y_true, (-1,)) - ops.reshape(y_pred, (-1,))
        square = ops.square(difference)
        return {"difference": difference, "square": square, "root": ops.sqrt(square)}
