"""The valence regressor of document 003: an AlexNet-like CNN on video frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from zoo.card import Card
from zoo.layers import LocalResponseNormalization, MaxPooling2D, initializers

CARD = Card(
    source="document 003 \"Interpreting TensorBoard distributions: weights don't change, only "
    'biases"',
    input_shape=(112, 112, 3),
    output="1 valence",
    parameters=7_919_999,
    flops=183_627_780,
)
CONVOLUTIONS = {  # name: (filters, kernel, strides, has LRN)
    "conv1": (128, 5, 4, True),
    "conv2": (128, 3, 1, True),
    "conv3": (256, 3, 1, False),
    "conv4": (256, 3, 1, False),
    "conv5": (256, 3, 1, False),
}
POOLS = {"conv1": "pool1", "conv2": "pool2", "conv5": "pool3"}
DENSE = {"local1": 2046, "local2": 2046}


def build(
    *,
    input_shape: Sequence[int] = CARD.input_shape,
    classes: int = 1,
    width: float = 1.0,
    kernel_initializer: Any = "glorot_normal",
    bias_initializer: Any = "zeros",
    output_stddev: float = 1 / 1024,
) -> keras.Model:
    """Build a model from frames ``(batch, *input_shape)`` in [0, 255] to ``(batch, classes)``.

    ``classes``: number of outputs; one is the document's valence.
    ``width``: share of the documented filters and units in every layer but the last.
    ``bias_initializer``: for every layer but the last, whose bias starts at 0.
    ``output_stddev``: standard deviation of the last layer's truncated normal weights.
    The document gives no frame size; a side of 89 to 120 pixels gives its 1,024 flat values.
    Raises ``ValueError`` for a width that is not above 0.
    """
    if width <= 0:
        raise ValueError(f"width must be above 0, not {width!r}")

    def layer(cls: Any, size: int, *args: Any, name: str, **options: Any) -> Any:
        return cls(
            max(1, round(width * size)),
            *args,
            name=name,
            **initializers(kernel_initializer, bias_initializer),
            **options,
        )

    frame = keras.Input(tuple(input_shape), name="frame")
    x = keras.layers.Rescaling(1 / 255, -128 / 255, name="image_normalization")(frame)
    for name, (filters, kernel, strides, has_lrn) in CONVOLUTIONS.items():
        x = layer(keras.layers.Conv2D, filters, kernel, strides, name=name, padding="same")(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
        if has_lrn:
            lrn_name = name.replace("conv", "norm")
            x = LocalResponseNormalization(4, 1.0, 0.001 / 9.0, 0.75, name=lrn_name)(x)
        if name in POOLS:
            x = MaxPooling2D(3, 2, name=POOLS[name])(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for name, units in DENSE.items():
        x = keras.layers.ReLU(name=f"{name}_relu")(layer(keras.layers.Dense, units, name=name)(x))
    initializer = keras.initializers.TruncatedNormal(stddev=output_stddev)
    valence = keras.layers.Dense(classes, name="softmax_linear", kernel_initializer=initializer)(x)
    return keras.Model(frame, valence, name="valence_cnn")
