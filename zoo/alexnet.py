"""AlexNet for 28x28 digits, with the variants of document 002's seven experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras

from zoo.card import Card
from zoo.layers import (
    AlwaysDropout,
    BatchStatisticsNormalization,
    LocalResponseNormalization,
    MaxPooling2D,
    Rescaled,
    initializers,
    with_fans,
)

CARD = Card(
    source='document 002, "AlexNet trained on MNIST"',
    input_shape=(28, 28, 1),
    output="10 logits",
    parameters=58_299_082,
    flops=2_121_848_512,
)


@dataclass(frozen=True)
class Convolution:
    """A row of the table below; ``grouped`` layers are split if ``groups`` is above 1."""

    filters: int
    kernel: int
    strides: int = 1
    padding: str = "same"
    lrn: bool = False
    grouped: bool = False
    pool: str | None = None


CONVOLUTIONS = {
    "conv1": Convolution(96, 11, strides=4, padding="valid", lrn=True, pool="pool1"),
    "conv2": Convolution(256, 5, lrn=True, pool="pool2"),
    "conv3": Convolution(384, 3),
    "conv4": Convolution(384, 3, grouped=True),
    "conv5": Convolution(256, 3, grouped=True, pool="pool5"),
}
DENSE = {"fc1": 4096, "fc2": 4096}
FULL_INPUTS = {  # input features of each layer at full size; conv1 has the image's
    "conv2": 96, "conv3": 256, "conv4": 384, "conv5": 384,
    "fc1": 6 * 6 * 256, "fc2": 4096, "output": 4096,
}  # fmt: skip
# The output has its own.
FULL_UNITS = {name: row.filters for name, row in CONVOLUTIONS.items()} | DENSE


def build(
    *,
    input_shape: Sequence[int] = CARD.input_shape,
    classes: int = 10,
    image_size: int = 227,
    width: float = 1.0,
    norm: Literal["lrn", "batch"] | None = "lrn",
    groups: int = 1,
    dropout: float = 0.5,
    dropout_at_evaluation: bool = True,
    batch_statistics_at_evaluation: bool = True,
    kernel_initializer: Any = "glorot_uniform",
    bias_initializer: Any = "zeros",
    full_size_gain: bool = False,
    forward_gain: bool = False,
) -> keras.Model:
    """Build a model from images ``(batch, *input_shape)`` in [0, 1] to logits ``(batch, classes)``.

    ``image_size``: side, in pixels, to which the model first resizes images, bilinearly.
    ``width``: share of the documented filters and units in every layer but the last; sizes are
    rounded to a multiple of ``groups``.
    ``norm``: ``lrn`` after conv1 and conv2 (experiments 1 to 5), or ``batch`` before each ReLU (6
    and 7).
    ``groups``: number of groups in conv4 and conv5 (experiment 5), which become separate layers
    ``conv4_1``, ``conv4_2``, ...
    ``dropout``: rate after fc1 and fc2.
    ``dropout_at_evaluation``, ``batch_statistics_at_evaluation``: True, as in the document, makes
    dropout and the batch's own statistics apply at evaluation too; False is Keras's default.
    ``full_size_gain``: multiply initial kernels by sqrt(full-size fan-in / own fan-in), so that
    the layers of a narrow network have the gain of the full-size ones.
    ``forward_gain``: multiply each layer's input by sqrt(full-size fan-in / own fan-in) instead
    (``conv2_gain``, ...), and draw initial values with the full-size layer's spread. To first order
    a step then changes the logits as it does at full size, at the same learning rate.
    Raises ``ValueError`` for an option out of range, or an image too small for the pools.
    """
    if norm not in ("lrn", "batch", None):
        raise ValueError(f"norm must be 'lrn', 'batch' or None, not {norm!r}")
    if width <= 0 or groups <= 0:
        raise ValueError(f"width and groups must be above 0, not {width!r} and {groups!r}")
    if full_size_gain and forward_gain:
        raise ValueError("full_size_gain and forward_gain exclude each other: set one to False")
    if image_size < 67:
        raise ValueError(f"image_size must be at least 67, not {image_size!r}: pool5 has no input")
    layers = _LayerBuilder(
        width=width,
        norm=norm,
        groups=groups,
        dropout=dropout,
        dropout_at_evaluation=dropout_at_evaluation,
        batch_statistics_at_evaluation=batch_statistics_at_evaluation,
        kernel_initializer=kernel_initializer,
        bias_initializer=bias_initializer,
        full_size_gain=full_size_gain,
        forward_gain=forward_gain,
    )
    image = keras.Input(tuple(input_shape), name="image")
    x = keras.layers.Resizing(image_size, image_size, name="resize")(image)
    for name, row in CONVOLUTIONS.items():
        x = layers.activation(layers.convolution(x, name, row), name)
        if row.lrn and norm == "lrn":
            x = LocalResponseNormalization(2, 1.0, 2e-5, 0.75, name=f"{name}_lrn")(x)
        if row.pool:
            x = MaxPooling2D(3, 2, name=row.pool)(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for name, units in DENSE.items():
        x = layers.hidden(x, name, units)
    return keras.Model(image, layers.dense(x, "output", classes), name="alexnet")


@dataclass(frozen=True)
class _LayerBuilder:
    """Applies layers that depend on the options of ``build``."""

    width: float
    norm: str | None
    groups: int
    dropout: float
    dropout_at_evaluation: bool
    batch_statistics_at_evaluation: bool
    kernel_initializer: Any
    bias_initializer: Any
    full_size_gain: bool
    forward_gain: bool

    def convolution(self, x, name: str, row: Convolution):
        """Apply a convolution, as several layers if it is grouped."""
        x, inputs, filters = self._amplified(x, name), x.shape[-1], self._scaled(row.filters)
        if not row.grouped or self.groups == 1:
            return self._conv2d(x, name, row, filters, self._initializers(name, inputs, filters))
        outputs = [
            self._conv2d(
                group,
                f"{name}_{number}",
                row,
                filters // self.groups,
                self._initializers(name, inputs, filters),
            )
            for number, group in enumerate(keras.ops.split(x, self.groups, axis=-1), 1)
        ]
        return keras.layers.Concatenate(name=name)(outputs)

    def _conv2d(self, x, name: str, row: Convolution, filters: int, options: dict[str, Any]):
        return keras.layers.Conv2D(
            filters, row.kernel, row.strides, row.padding, name=name, **options
        )(x)

    def dense(self, x, name: str, units: int):
        """Apply a dense layer."""
        options = self._initializers(name, x.shape[-1], units)
        return keras.layers.Dense(units, name=name, **options)(self._amplified(x, name))

    def hidden(self, x, name: str, units: int):
        """Apply a hidden dense layer, its activation and dropout."""
        x = self.activation(self.dense(x, name, self._scaled(units)), name)
        layer = AlwaysDropout if self.dropout_at_evaluation else keras.layers.Dropout
        return layer(self.dropout, name=f"{name}_dropout")(x)

    def activation(self, x, name: str):
        """Apply batch norm, if it is used, and ReLU."""
        if self.norm == "batch":
            always = self.batch_statistics_at_evaluation
            layer = BatchStatisticsNormalization if always else keras.layers.BatchNormalization
            x = layer(momentum=0.999, epsilon=0.001, name=f"{name}_bn")(x)
        return keras.layers.ReLU(name=f"{name}_relu")(x)

    def _scaled(self, size: int) -> int:
        """Return a layer's size at this width."""
        return max(1, round(size * self.width / self.groups)) * self.groups

    def _amplified(self, x, name: str):
        """Multiply the input of a layer by its gain, if that is to be done in the forward pass."""
        gain = _gain(name, x.shape[-1])
        if not self.forward_gain or gain == 1:
            return x
        return keras.layers.Rescaling(gain, name=f"{name}_gain")(x)

    def _initializers(self, name: str, inputs: int, units: int) -> dict[str, Any]:
        """Return a layer's initialisers; ``inputs`` and ``units`` count those of all groups."""
        options = initializers(self.kernel_initializer, self.bias_initializer)
        kernel, bias = options["kernel_initializer"], options["bias_initializer"]
        if self.full_size_gain:
            options["kernel_initializer"] = Rescaled(kernel, _gain(name, inputs))
        if self.forward_gain:
            full_inputs, full_units = FULL_INPUTS.get(name, inputs), FULL_UNITS.get(name, units)
            options["kernel_initializer"] = with_fans(
                kernel, (inputs, units), (full_inputs, full_units)
            )
            options["bias_initializer"] = with_fans(bias, (units, units), (full_units, full_units))
        return options


def _gain(name: str, inputs: int) -> float:
    """Return sqrt(full-size fan-in / own fan-in) of a layer."""
    return (FULL_INPUTS.get(name, inputs) / inputs) ** 0.5
