"""The "Deep MNIST" tutorial's CNN, as documents 000 and 001 build it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from zoo.card import Card
from zoo.layers import MaxPooling2D, initializers

CARD = Card(
    source='documents 000 "Why does a constantly initialised CNN learn anything?" and '
    '001 "TensorFlow weight initialization"',
    input_shape=(28, 28, 1),
    output="10 logits",
    parameters=3_274_634,
    flops=27_767_808,
)
LAYERS = ("conv1", "conv2", "fc1")


def build(
    *,
    input_shape: Sequence[int] = CARD.input_shape,
    classes: int = 10,
    widths: Sequence[int] = (32, 64, 1024),
    stands_for: Sequence[int] = (1, 1, 1),
    dropout: float = 0.0,
    rounding_noise: float = 0.0,
    kernel_initializer: Any = "glorot_uniform",
    bias_initializer: Any = "zeros",
) -> keras.Model:
    """Build a model from images ``(batch, *input_shape)`` in [0, 1] to logits ``(batch, classes)``.

    ``widths``: filters of conv1 and conv2, units of fc1.
    ``stands_for``: how many equal units each unit of those layers represents; its output is
    multiplied by that number. The model is then the twin of a wide network whose units form groups
    of equal ones: the same function of the same weights. With widths of 1 all units are equal.
    ``dropout``: rate before the output layer during training (document 001: 0.5).
    ``rounding_noise``: relative standard deviation of noise on each layer's output during training,
    to imitate sums in a varying order (float32 rounds by up to 6e-8).
    Raises ``ValueError`` if ``widths`` or ``stands_for`` is not three numbers of 1 or more.
    """
    for name, sizes in (("widths", widths), ("stands_for", stands_for)):
        if len(sizes) != len(LAYERS) or min(sizes) < 1:
            raise ValueError(f"{name} must be three numbers of 1 or more, not {sizes!r}")
    noise = rounding_noise**2 / (1 + rounding_noise**2)  # GaussianDropout's rate for that noise

    x = image = keras.Input(tuple(input_shape), name="image")
    for name, size, multiple in zip(LAYERS, widths, stands_for, strict=True):
        if name == "fc1":
            x = keras.layers.Flatten(name="flatten")(x)
            x = keras.layers.Dense(
                size, name=name, **initializers(kernel_initializer, bias_initializer)
            )(x)
        else:
            x = keras.layers.Conv2D(
                size,
                5,
                padding="same",
                name=name,
                **initializers(kernel_initializer, bias_initializer),
            )(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        if name != "fc1":
            x = MaxPooling2D(2, name=name.replace("conv", "pool"))(x)
        if noise:
            x = keras.layers.GaussianDropout(noise, name=f"{name}_noise")(x)
        if multiple != 1:
            x = keras.layers.Rescaling(multiple, name=f"{name}_times_{multiple}")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="fc1_dropout")(x)
    logits = keras.layers.Dense(
        classes, name="output", **initializers(kernel_initializer, bias_initializer)
    )(x)
    return keras.Model(image, logits, name="mnist_cnn")
