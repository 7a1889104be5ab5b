"""The programs: layers, losses and updates of the zoo on small inputs.

Import it only after ``determinism.start()``: it imports keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from experiments.verification.known_answers import references
from experiments.verification.known_answers.references import Inputs, Results
from zoo.layers import BatchStatisticsNormalization, LocalResponseNormalization, MaxPooling2D
from zoo.losses import BareLogCrossentropy, RootOfSquare

Arrays = Mapping[str, NDArray[Any]]
CLASSES = 10
STEPS_DONE = 7  # before Adam's step


@dataclass(frozen=True)
class Program:
    """A layer of ``x``, the loss ``sum(cotangent * layer(x))``, and a training step.

    ``values``: those of ``x``, of the layer's variables and of the optimiser's, by name.
    ``optimizer``: None records the gradients and changes nothing. ``reference`` returns the exact
    results with their bounds.
    """

    name: str
    layer: Callable[[], keras.layers.Layer]
    values: Arrays
    cotangent: NDArray[np.float32]
    reference: Callable[[Inputs], Results]
    optimizer: Callable[[], keras.optimizers.Optimizer] | None = None


class Function(keras.layers.Layer):
    """A function of the input and of one variable."""

    def __init__(
        self, function: Callable[[Any, Any], Any], variable: str, size: int, trainable: bool
    ) -> None:
        super().__init__()
        self.function = function
        shape = (size, size) if trainable else (size,)
        self.variable = self.add_weight(
            shape=shape, initializer="zeros", trainable=trainable, name=variable
        )
        self.built = True

    def call(self, x):
        return self.function(x, self.variable)


def squared_length(matrix: Any, row: Any) -> Any:
    """Return ``sum((matrix @ row) ** 2)``."""
    return ops.sum(ops.square(ops.matmul(matrix, row)))


@dataclass
class Draws:
    """Random inputs, the same each time: every program has a number of its own."""

    number: int
    generator: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.generator = np.random.Generator(np.random.Philox(self.number))

    def normal(self, *shape: int, mean: float = 0.0, stddev: float = 1.0) -> NDArray[np.float32]:
        """Return normal numbers."""
        return self.generator.normal(mean, stddev, shape).astype(np.float32)

    def integers(self, low: int, high: int, *shape: int) -> NDArray[np.float32]:
        """Return integers from ``low`` up to and including ``high``."""
        return self.generator.integers(low, high, shape, endpoint=True).astype(np.float32)


def programs() -> list[Program]:
    """Return all programs."""
    return [
        matrix_vector(),
        dense(),
        convolution(2, "5x5 same", 12, 8, 16, 5, 1, "same"),
        convolution(3, "5x5 stride 2 same", 11, 1, 16, 5, 2, "same"),
        convolution(4, "11x11 stride 4 valid", 67, 1, 12, 11, 4, "valid"),
        convolution(5, "3x3 same", 7, 24, 16, 3, 1, "same"),
        max_pool(6, "3x3 stride 2 valid", 15, 3, 2, "valid"),
        max_pool(7, "2x2 stride 2 same", 13, 2, 2, "same"),
        response_norm(),
        batch_norm(),
        log_of_softmax(),
        bare_log_crossentropy(),
        crossentropy_from_logits(),
        root_of_square(),
        sgd(),
        adam(),
    ]


def matrix_vector() -> Program:
    """Return the case of jax#39103: jaxlib 0.10.2 computes 1071645696 for the last row, 2**30."""
    rows = np.zeros((32769, 3), np.float32)
    rows[:, 0] = np.arange(len(rows))

    def squared_lengths(x: Any, matrix: Any) -> Any:
        matrix = ops.convert_to_tensor(matrix)
        return ops.vectorized_map(lambda row: squared_length(matrix, row), x)

    return Program(
        "matrix-vector product and sum",
        lambda: Function(squared_lengths, "matrix", 3, trainable=True),
        {"x": rows, "matrix": np.eye(3, dtype=np.float32)},
        abs(Draws(0).normal(len(rows))),  # without cancellation over the rows
        references.squared_lengths,
    )


def dense() -> Program:
    draws, features, units = Draws(1), 256, 24
    return Program(
        "dense and ReLU",
        lambda: keras.layers.Dense(units, "relu", kernel_initializer="zeros"),
        {
            "x": draws.normal(32, features),
            "kernel": draws.normal(features, units, stddev=features**-0.5),
            "bias": draws.normal(units, stddev=0.1),
        },
        draws.normal(32, units),
        references.dense_relu,
    )


def convolution(
    number: int,
    text: str,
    side: int,
    channels: int,
    filters: int,
    size: int,
    stride: int,
    padding: str,
) -> Program:
    draws = Draws(number)
    outputs = -(-side // stride) if padding == "same" else (side - size) // stride + 1
    fan_in = size**2 * channels
    return Program(
        f"convolution {text}",
        lambda: keras.layers.Conv2D(filters, size, stride, padding, kernel_initializer="zeros"),
        {
            "x": draws.normal(4, side, side, channels),
            "kernel": draws.normal(size, size, channels, filters, stddev=fan_in**-0.5),
            "bias": draws.normal(filters, stddev=0.1),
        },
        draws.normal(4, outputs, outputs, filters),
        references.convolution(size, stride, padding),
    )


def max_pool(number: int, text: str, side: int, size: int, stride: int, padding: str) -> Program:
    draws = Draws(number)
    outputs = -(-side // stride) if padding == "same" else (side - size) // stride + 1
    return Program(
        f"max pool {text}",
        lambda: MaxPooling2D(size, stride, padding),
        {"x": draws.integers(-2, 2, 4, side, side, 12)},  # few values: ties in most windows
        draws.integers(1, 9, 4, outputs, outputs, 12),
        references.max_pool(size, stride, padding),
    )


def response_norm() -> Program:
    draws, shape = Draws(8), (4, 7, 7, 24)
    radius, alpha = 4, 0.001 / 9.0
    return Program(
        "local response normalisation",
        lambda: LocalResponseNormalization(radius, 1.0, alpha, 0.75),
        {"x": draws.normal(*shape, stddev=30.0)},  # so that the scale is not 1
        draws.normal(*shape),
        references.response_norm(radius, alpha),
    )


def batch_norm() -> Program:
    draws, channels = Draws(9), 12
    shape = (16, 5, 5, channels)
    return Program(
        "batch norm",
        lambda: BatchStatisticsNormalization(momentum=0.999, epsilon=0.001),
        {
            "x": draws.normal(*shape, mean=0.5),
            "gamma": draws.normal(channels, mean=1.0, stddev=0.1),
            "beta": draws.normal(channels),
            "moving_mean": draws.normal(channels),
            "moving_variance": draws.normal(channels) ** 2,
        },
        draws.normal(*shape),
        references.batch_norm(0.999, 0.001),
    )


def log_of_softmax() -> Program:
    loss = BareLogCrossentropy(reduction="none")
    return _classification(
        15,
        "softmax and its logarithm",
        lambda labels, x: loss.terms(labels, x)["log"],
        references.log_of_softmax,
        CLASSES,
    )


def bare_log_crossentropy() -> Program:
    return _classification(
        10,
        "cross-entropy by softmax and logarithm",
        BareLogCrossentropy(reduction="none"),
        references.bare_log_crossentropy,
    )


def crossentropy_from_logits() -> Program:
    return _classification(
        11,
        "cross-entropy from logits",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none"),
        references.crossentropy_from_logits,
    )


def _classification(
    number: int,
    name: str,
    loss: Callable[[Any, Any], Any],
    reference: Callable[[Inputs], Results],
    *outputs: int,
) -> Program:
    """Return the program of a function of labels and logits; ``outputs``: its shape after rows."""
    draws, examples = Draws(number), 96
    return Program(
        name,
        lambda: Function(lambda x, labels: loss(labels, x), "labels", examples, trainable=False),
        {
            "x": draws.normal(examples, CLASSES, stddev=3.0),
            "labels": draws.integers(0, CLASSES - 1, examples),
        },
        draws.normal(examples, *outputs),
        reference,
    )


def root_of_square() -> Program:
    draws, examples, loss = Draws(12), 96, RootOfSquare(reduction="none")
    return Program(
        "root of a square",
        lambda: Function(lambda x, labels: loss(labels, x), "labels", examples, trainable=False),
        {"x": draws.normal(examples, 1), "labels": draws.normal(examples)},
        draws.normal(examples),
        references.root_of_square,
    )


def sgd() -> Program:
    draws, shape = Draws(13), (40, 25)
    return Program(
        "SGD's update",
        keras.layers.Identity,
        {"x": draws.normal(*shape)},
        draws.normal(*shape),
        references.sgd(1e-4),
        lambda: keras.optimizers.SGD(1e-4),
    )


def adam() -> Program:
    draws, shape = Draws(14), (40, 25)
    return Program(
        "Adam's update",
        keras.layers.Identity,
        {
            "x": draws.normal(*shape),
            "momentum": draws.normal(*shape),
            "velocity": draws.normal(*shape) ** 2,
            "iteration": np.array(STEPS_DONE),
        },
        draws.normal(*shape),
        references.adam(1e-4, 1e-8, STEPS_DONE),
        lambda: keras.optimizers.Adam(1e-4, epsilon=1e-8),
    )
