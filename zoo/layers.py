"""Layers and initialisers that the networks share.

The classes are registered under the package name ``zoo``: after ``import zoo.layers``,
``keras.saving.load_model`` loads a saved model.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

register = keras.saving.register_keras_serializable(package="zoo")


@register
class LocalResponseNormalization(keras.layers.Layer):
    """Normalise each value by the sum of squares over neighbouring channels.

    ``y[c] = x[c] / (bias + alpha * sum(x[c - r] ** 2 ... x[c + r] ** 2)) ** beta``, where ``r`` is
    ``depth_radius``. The sum is not divided by the window's size, as in
    ``tf.nn.local_response_normalization``. Takes any shape with the channels as its last axis.
    Source: Krizhevsky et al. 2012, section 3.3.
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
        # On a CPU a product with a banded matrix sums the window several times faster than shifted
        # slices or pooling over channels.
        channels = np.arange(inputs.shape[-1])
        band = np.abs(channels[:, None] - channels[None, :]) <= self.depth_radius
        energy = ops.matmul(ops.square(inputs), ops.convert_to_tensor(band, inputs.dtype))
        return inputs * self._power(self.bias + self.alpha * energy)

    def _power(self, scale):
        if self.beta == 0.75:  # both documents' value; a power would dominate a step on a CPU
            root = ops.rsqrt(scale)
            return root * ops.sqrt(root)
        return ops.power(scale, -self.beta)

    def get_config(self) -> dict[str, Any]:
        names = ("depth_radius", "bias", "alpha", "beta")
        return super().get_config() | {name: getattr(self, name) for name in names}


@register
class AlwaysDropout(keras.layers.Dropout):
    """Dropout that is also active at evaluation, whatever the value of ``training``."""

    def call(self, inputs, training=None):
        return super().call(inputs, training=True)


@register
class BatchStatisticsNormalization(keras.layers.BatchNormalization):
    """Batch normalisation that uses the batch's own statistics at evaluation too."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=True, mask=mask)


@register
class MaxPooling2D(keras.layers.MaxPooling2D):
    """Keras's max pooling, with a deterministic gradient for JAX on an accelerator.

    There Keras's gradient is not deterministic (flax#4233), and this layer takes the maximum over
    strided slices, whose gradient needs no scatter. The values are the same. Of equal values the
    first receives the gradient, as in Keras's layer, and NaN wins.
    """

    def call(self, inputs):
        if scatters() and self.data_format == "channels_last":
            return self._max_over_slices(inputs)
        return super().call(inputs)

    def _max_over_slices(self, inputs):
        padded = ops.pad(inputs, self._padding(inputs.shape), constant_values=-np.inf)
        spans = [
            1 + (size - window) // stride * stride
            for size, window, stride in zip(
                padded.shape[1:3], self.pool_size, self.strides, strict=True
            )
        ]
        (height, width), (down, across) = spans, self.strides
        largest, *others = (
            padded[:, row : row + height : down, column : column + width : across]
            for row, column in np.ndindex(*self.pool_size)
        )
        for other in others:
            wins = ops.logical_or(other > largest, ops.isnan(other))
            largest = ops.where(wins, other, largest)
        return largest

    def _padding(self, shape) -> list[tuple[int, int]]:
        """Return the padding before and after each axis."""
        pads = [(0, 0)] * len(shape)
        if self.padding == "same":
            for axis, window, stride in zip((1, 2), self.pool_size, self.strides, strict=True):
                missing = max(0, (shape[axis] - 1) // stride * stride + window - shape[axis])
                pads[axis] = (missing // 2, missing - missing // 2)
        return pads


def scatters() -> bool:
    """Return whether the backend's gradient of max pooling scatters in no fixed order."""
    if keras.backend.backend() != "jax":
        return False
    return not keras.distribution.list_devices()[0].startswith("cpu")


def initializers(kernel: Any, bias: Any) -> dict[str, Any]:
    """Return a layer's initialiser arguments, cloned so that no two layers share a seed."""
    return {
        "kernel_initializer": keras.initializers.get(kernel).clone(),
        "bias_initializer": keras.initializers.get(bias).clone(),
    }


@register
class Rescaled(keras.initializers.Initializer):
    """The values of another initialiser, multiplied by ``factor``."""

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


def with_fans(initializer: Any, own: tuple[int, int], other: tuple[int, int]) -> Any:
    """Return an initialiser whose spread in a layer of the fans ``own`` is that of ``other``.

    ``own`` and ``other`` are (fan-in, fan-out), up to a common factor. Initialisers whose spread
    does not depend on fans are returned as they are.
    """
    if not isinstance(initializer, keras.initializers.VarianceScaling) or own == other:
        return initializer
    counts = {"fan_in": (1, 0), "fan_out": (0, 1), "fan_avg": (1, 1)}[initializer.mode]
    return Rescaled(initializer, (np.dot(counts, own) / np.dot(counts, other)).item() ** 0.5)
