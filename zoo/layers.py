"""Layers and initialisers that the networks share.

Everything here is registered under the package name ``zoo``: after ``import zoo.layers`` a saved
model loads with plain ``keras.saving.load_model``.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

register = keras.saving.register_keras_serializable(package="zoo")


@register
class LocalResponseNormalization(keras.layers.Layer):
    """Divide each value by a power of its neighbourhood's energy across channels.

    ``y[c] = x[c] / (bias + alpha * sum(x[c - r] ** 2 ... x[c + r] ** 2)) ** beta``, the sum not
    divided by the window's size, as in ``tf.nn.local_response_normalization``; any shape whose
    last axis is the channels. Source: Krizhevsky et al. 2012, section 3.3.
    """

    def __init__(
        self,
        depth_radius: int = 5,
        bias: float = 1.0,
        alpha: float = 1.0,
        beta: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.depth_radius, self.bias, self.alpha, self.beta = depth_radius, bias, alpha, beta

    def call(self, inputs):
        # A banded matrix product sums the window several times faster on a CPU than shifted
        # slices or a pooling over channels do.
        channels = np.arange(inputs.shape[-1])
        band = np.abs(channels[:, None] - channels[None, :]) <= self.depth_radius
        energy = ops.matmul(ops.square(inputs), ops.convert_to_tensor(band, inputs.dtype))
        return inputs * self._power(self.bias + self.alpha * energy)

    def _power(self, scale):
        if self.beta == 0.75:  # both documents' value; a power is most of a CPU step otherwise
            root = ops.rsqrt(scale)
            return root * ops.sqrt(root)
        return ops.power(scale, -self.beta)

    def get_config(self) -> dict[str, Any]:
        names = ("depth_radius", "bias", "alpha", "beta")
        return super().get_config() | {name: getattr(self, name) for name in names}


@register
class AlwaysDropout(keras.layers.Dropout):
    """Dropout that draws a mask at evaluation too, whatever ``training`` says."""

    def call(self, inputs, training=None):
        return super().call(inputs, training=True)


@register
class BatchStatisticsNormalization(keras.layers.BatchNormalization):
    """Batch normalisation by the batch's own statistics at evaluation too."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=True, mask=mask)


@register
class MaxPooling2D(keras.layers.MaxPooling2D):
    """Keras's layer, but for JAX on an accelerator, where its gradient is not deterministic.

    There it is a maximum over strided slices, whose gradient scatters nothing (flax#4233): the same
    values; of equal ones the first takes the gradient, as in Keras's; NaN wins.
    """

    def call(self, inputs):
        sliced = scatters() and self.data_format == "channels_last"
        return self._sliced(inputs) if sliced else super().call(inputs)

    def _sliced(self, inputs):
        padded = ops.pad(inputs, self._pads(inputs.shape), constant_values=-np.inf)
        spans = [
            1 + (size - window) // stride * stride
            for size, window, stride in zip(
                padded.shape[1:3], self.pool_size, self.strides, strict=True
            )
        ]
        (height, width), (down, across) = spans, self.strides
        first, *others = (
            padded[:, row : row + height : down, column : column + width : across]
            for row, column in np.ndindex(*self.pool_size)
        )
        for other in others:
            wins = ops.logical_or(other > first, ops.isnan(other))
            first = ops.where(wins, other, first)
        return first

    def _pads(self, shape) -> list[tuple[int, int]]:
        pads = [(0, 0)] * len(shape)
        if self.padding == "same":
            for axis, window, stride in zip((1, 2), self.pool_size, self.strides, strict=True):
                missing = max(0, (shape[axis] - 1) // stride * stride + window - shape[axis])
                pads[axis] = (missing // 2, missing - missing // 2)
        return pads


def scatters() -> bool:
    """Return whether this backend's gradient of a pool scatters in no fixed order."""
    if keras.backend.backend() != "jax":
        return False
    return not keras.distribution.list_devices()[0].startswith("cpu")


def initializers(kernel: Any, bias: Any) -> dict[str, Any]:
    """Return a layer's two initialiser arguments; clones, so that no two layers share a seed."""
    return {
        "kernel_initializer": keras.initializers.get(kernel).clone(),
        "bias_initializer": keras.initializers.get(bias).clone(),
    }


@register
class Rescaled(keras.initializers.Initializer):
    """Another initialiser's values times ``factor``."""

    def __init__(self, initializer: Any, factor: float) -> None:
        self.initializer = keras.initializers.get(initializer)
        self.factor = factor

    def __call__(self, shape, dtype=None):
        return self.factor * self.initializer(shape, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "initializer": keras.initializers.serialize(self.initializer),
            "factor": self.factor,
        }
