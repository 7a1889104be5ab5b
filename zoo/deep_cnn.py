"""A CNN of any depth, for the comments and answers of document 001."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras

from zoo.card import Card
from zoo.layers import MaxPooling2D, initializers

CARD = Card(
    source='document 001 "TensorFlow weight initialization", its comments and answers',
    input_shape=(28, 28, 1),
    output="10 logits",
    parameters=365_386,
    flops=33_203_968,
)
STYLES = ("plain", "batch_norm", "skip")


def build(
    *,
    input_shape: Sequence[int] = CARD.input_shape,
    classes: int = 10,
    depth: int = 10,
    width: int = 64,
    activation: str = "relu",
    style: Literal["plain", "batch_norm", "skip"] = "plain",
    momentum: float = 0.99,
    kernel_initializer: Any = "glorot_uniform",
    bias_initializer: Any = "zeros",
) -> keras.Model:
    """Build a model from images ``(batch, *input_shape)`` in [0, 1] to logits ``(batch, classes)``.

    ``depth``: number of convolutions before the output layer, with ``width`` filters each. The
    first is 5x5 with stride 2, followed by a 2x2 pool; the others are 3x3, of 28x28 at 7x7, where
    zero padding costs a little variance per layer.
    ``activation``: Keras's name of the activation after each convolution.
    ``style``: ``plain``; ``batch_norm``, with batch norm before each activation; or ``skip``, with
    batch norm and skip connections: conv02's input is added to conv03's output before the
    activation, conv04's to conv05's, and so on.
    ``momentum``: that of batch norm's moving averages.
    Raises ``ValueError`` for an option out of range.
    """
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, not {style!r}")
    if depth < 1 or width < 1:
        raise ValueError(f"depth and width must be above 0, not {depth!r} and {width!r}")

    x = image = keras.Input(tuple(input_shape), name="image")
    shortcut = None
    for number in range(1, depth + 1):
        name = f"conv{number:02}"
        size, strides = (5, 2) if number == 1 else (3, 1)
        if number % 2 == 0:
            shortcut = x
        x = keras.layers.Conv2D(
            width,
            size,
            strides,
            padding="same",
            name=name,
            **initializers(kernel_initializer, bias_initializer),
        )(x)
        if style != "plain":
            x = keras.layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(x)
        if style == "skip" and number % 2 == 1 and number > 1:
            x = keras.layers.Add(name=f"{name}_skip")([x, shortcut])
        x = keras.layers.Activation(activation, name=f"{name}_{activation}")(x)
        if number == 1:
            x = MaxPooling2D(2, name="pool01")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    logits = keras.layers.Dense(
        classes, name="output", **initializers(kernel_initializer, bias_initializer)
    )(x)
    return keras.Model(image, logits, name="deep_cnn")
