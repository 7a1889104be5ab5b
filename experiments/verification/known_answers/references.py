"""The exact results of the programs, with bounds on a float32 computation's error.

Each function takes a program's inputs and returns its results by name: ``output`` (of the forward
pass, alone and within a training step), ``gradient of NAME``, and variables that the step changes.
If backends use different formulas, the bound holds for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from experiments.verification.known_answers.bounds import (
    ULP,
    Array,
    Bounded,
    Range,
    bilinear,
    constant,
    dot,
    either,
    gamma,
    total,
)

Results = Mapping[str, Bounded | Range]
HALF, TWO = constant(0.5), constant(2.0)


@dataclass(frozen=True)
class Inputs:
    """A program's variables by name, and the gradient of the loss by its output.

    ``product_inputs``: the relative error to which the device may round a matrix product's inputs.
    """

    variables: Mapping[str, Bounded]
    cotangent: Bounded
    product_inputs: float

    def __getitem__(self, name: str) -> Bounded:
        return self.variables[name]

    def product(self, subscripts: str, a: Bounded, b: Bounded, terms: int) -> Bounded:
        """Return a matrix product, as an ``einsum``."""
        return dot(subscripts, a, b, terms, self.product_inputs)


def squared_lengths(inputs: Inputs) -> Results:
    """Return ``sum((matrix @ row) ** 2)`` for each row of ``x``."""
    matrix, rows = inputs["matrix"], inputs["x"]
    cotangent = inputs.cotangent.linear(lambda c: c[:, None])
    size = rows.value.shape[1]
    images = inputs.product("ij,nj->ni", matrix, rows, size)
    gradient = TWO * (cotangent * images)
    return {
        "output": total(images * images, -1, size).linear(lambda y: y[:, 0]),
        "gradient of x": inputs.product("ij,ni->nj", matrix, gradient, size),
        "gradient of matrix": inputs.product("ni,nj->ij", gradient, rows, len(rows.value)),
    }


def dense_relu(inputs: Inputs) -> Results:
    """Return ``relu(x @ kernel + bias)``.

    If the sign before the ReLU is within the error, the gradient may pass or not.
    """
    x, kernel, bias, cotangent = inputs["x"], inputs["kernel"], inputs["bias"], inputs.cotangent
    (examples, features), units = x.value.shape, bias.value.size
    before = _add_bias(inputs.product("nk,ku->nu", x, kernel, features + 1), bias, features + 1)
    passes, unsure = before.value > 0, np.abs(before.value) <= before.error
    gradient = Bounded(cotangent.value * passes, np.abs(cotangent.value) * unsure)
    return {
        "output": before.linear(lambda y: np.maximum(y, 0)),
        "gradient of x": inputs.product("nu,ku->nk", gradient, kernel, units),
        "gradient of kernel": inputs.product("nk,nu->ku", x, gradient, examples),
        "gradient of bias": total(gradient, 0, examples).linear(np.ravel),
    }


def _add_bias(product: Bounded, bias: Bounded, terms: int) -> Bounded:
    """Return product + bias; a kernel may also begin its sum with the bias, and round it often."""
    error = product.error + gamma(terms) * np.abs(bias.value)
    return Bounded(product.value + bias.value, error).rounded()


def convolution(size: int, stride: int, padding: str) -> Callable[[Inputs], Results]:
    """Return the reference of a square convolution with bias, channels last."""

    def reference(inputs: Inputs) -> Results:
        x, kernel, bias, cotangent = inputs["x"], inputs["kernel"], inputs["bias"], inputs.cotangent
        shape, inner = x.value.shape, inputs.product_inputs
        *_, channels, filters = kernel.value.shape

        def forward(x: Array, kernel: Array) -> Array:
            return np.tensordot(_windows(x, size, stride, padding), kernel, ((4, 5, 3), (0, 1, 2)))

        def kernel_gradient(x: Array, cotangent: Array) -> Array:
            windows = _windows(x, size, stride, padding)
            return np.tensordot(windows, cotangent, ((0, 1, 2),) * 2).transpose(1, 2, 0, 3)

        def input_gradient(cotangent: Array, kernel: Array) -> Array:
            parts = np.tensordot(cotangent, kernel, ((3,), (3,)))
            return _add_windows(parts.transpose(0, 1, 2, 5, 3, 4), shape, stride, padding)

        terms, outputs = size**2 * channels + 1, cotangent.value[..., 0].size
        return {
            "output": _add_bias(bilinear(forward, x, kernel, terms, inner), bias, terms),
            "gradient of x": bilinear(input_gradient, cotangent, kernel, size**2 * filters, inner),
            "gradient of kernel": bilinear(kernel_gradient, x, cotangent, outputs, inner),
            "gradient of bias": total(cotangent, (0, 1, 2), outputs).linear(np.ravel),
        }

    return reference


def max_pool(size: int, stride: int, padding: str) -> Callable[[Inputs], Results]:
    """Return the reference of a max pool over integers, with positive integers as cotangent.

    All sums are exact. The whole gradient of a window goes to elements that are its maximum, of
    several to any of them: an element's is in a range.
    """

    def reference(inputs: Inputs) -> Results:
        x, cotangent = inputs["x"].value, inputs.cotangent.value
        windows = _windows(x, size, stride, padding, -np.inf)
        largest = windows.max((4, 5), keepdims=True)
        is_largest = windows == largest
        alone = is_largest & (is_largest.sum((4, 5), keepdims=True) == 1)
        least, most = (
            _add_windows(mask * cotangent[..., None, None], x.shape, stride, padding)
            for mask in (alone, is_largest)
        )
        return {
            "output": Bounded(largest[..., 0, 0]),
            "gradient of x": Range(least, most),
            "sum of gradient of x": Bounded(cotangent.sum((1, 2))),
        }

    return reference


def _padding(shape: tuple[int, ...], size: int, stride: int, padding: str) -> list[tuple[int, int]]:
    """Return the padding before and after each axis, as Keras places it."""
    pads = [(0, 0)] * len(shape)
    for axis in (1, 2) if padding == "same" else ():
        missing = max(0, (shape[axis] - 1) // stride * stride + size - shape[axis])
        pads[axis] = (missing // 2, missing - missing // 2)
    return pads


def _windows(x: Array, size: int, stride: int, padding: str, fill: float = 0.0) -> Array:
    """Return the windows ``(batch, row, column, channel, window row, window column)``."""
    padded = np.pad(x, _padding(x.shape, size, stride, padding), constant_values=fill)
    return sliding_window_view(padded, (size, size), (1, 2))[:, ::stride, ::stride]


def _add_windows(parts: Array, shape: tuple[int, ...], stride: int, padding: str) -> Array:
    """Return the sum of windows at their places in an array of ``shape``, without its padding."""
    _, rows, columns, _, size, _ = parts.shape
    pads = _padding(shape, size, stride, padding)
    padded = np.zeros([sum(pad) + length for pad, length in zip(pads, shape, strict=True)])
    for row, column in np.ndindex(size, size):
        down = slice(row, row + rows * stride, stride)
        across = slice(column, column + columns * stride, stride)
        padded[:, down, across] += parts[..., row, column]
    (top, _), (left, _) = pads[1:3]
    return padded[:, top : top + shape[1], left : left + shape[2]]


def response_norm(radius: int, alpha: float) -> Callable[[Inputs], Results]:
    """Return the reference of ``LocalResponseNormalization(radius, 1, alpha, 0.75)``.

    With scale s and r = 1 / sqrt(s), the output is x r sqrt(r). Its derivative takes r ** 3 or
    r / s; the error of r ** 3 is the larger.
    """

    def reference(inputs: Inputs) -> Results:
        x, cotangent, window = inputs["x"], inputs.cotangent, 2 * radius + 1
        channels = np.arange(x.value.shape[-1])
        band = Bounded(abs(channels[:, None] - channels[None, :]) <= radius)
        scale = constant(1.0) + constant(alpha) * inputs.product(
            "nhwc,cd->nhwd", x * x, band, window
        )
        root = scale.apply(lambda s: 1 / np.sqrt(s), ULP["rsqrt"])
        fourth = root.apply(np.sqrt, ULP["sqrt"])
        power = root * fourth
        by_power = cotangent * x
        by_root = by_power * fourth + (by_power * root) * HALF / fourth
        by_scale = by_root * HALF * root * root * root
        by_square = inputs.product("nhwd,cd->nhwc", constant(alpha) * by_scale, band, window)
        return {
            "output": x * power,
            "gradient of x": cotangent * power - TWO * x * by_square,
        }

    return reference


def batch_norm(momentum: float, epsilon: float) -> Callable[[Inputs], Results]:
    """Return the reference of batch norm in training mode.

    The formula is ``x * factor + (beta - mean * factor)`` (JAX, TensorFlow); that of PyTorch,
    ``(x - mean) * factor + beta``, has no more roundings, and of smaller numbers. The variance is
    E[x**2] - mean**2 (PyTorch) or E[(x - mean)**2], which is off by less, but for ``terms`` with 4
    more roundings. The latter's gradient also has the mean of x - mean, an error alone.
    """

    def reference(inputs: Inputs) -> Results:
        x, cotangent = inputs["x"], inputs.cotangent
        axes, count = (0, 1, 2), x.value[..., 0].size
        terms, size = count + 4, constant(count)

        def per_channel(value: Bounded) -> Bounded:
            return value.linear(np.ravel)

        mean = total(x, axes, terms) / size
        variance = total(x * x, axes, terms) / size - mean * mean
        inverse = (variance + constant(epsilon)).apply(lambda v: 1 / np.sqrt(v), ULP["rsqrt"])
        factor = inverse * inputs["gamma"]

        summed = total(cotangent, axes, terms)
        by_factor = dot("nhwc,nhwc->c", cotangent, x, terms) - per_channel(mean * summed)
        by_variance = by_factor * inputs["gamma"] * HALF * per_channel(inverse * inverse * inverse)
        slope = TWO * by_variance / size
        by_x = cotangent * factor - factor * summed / size - (slope * x - slope * mean)
        centred = mean.error + gamma(terms) * (np.abs(x.value) + mean.magnitude).mean(axes)
        moved = {
            f"moving_{name}": constant(momentum) * inputs[f"moving_{name}"]
            + per_channel(value) * constant(1 - momentum)
            for name, value in (("mean", mean), ("variance", variance))
        }
        return {
            "output": x * factor + (inputs["beta"] - mean * factor),
            "gradient of x": Bounded(by_x.value, by_x.error + slope.magnitude * centred),
            "gradient of gamma": by_factor * per_channel(inverse),
            "gradient of beta": per_channel(summed),
            **moved,
        }

    return reference


def log_of_softmax(inputs: Inputs) -> Results:
    """Return ``log(softmax(x))``, through softmax and logarithm."""
    log, gradient = _log_of_softmax(inputs["x"], inputs.cotangent, inputs["x"].value.shape[-1])
    return {"output": log, "gradient of x": gradient}


def bare_log_crossentropy(inputs: Inputs) -> Results:
    """Return ``-log(softmax(x))`` at each row's label, through softmax and logarithm."""
    labels, cotangent = _one_hot(inputs), inputs.cotangent.linear(lambda c: c[:, None])
    log, gradient = _log_of_softmax(inputs["x"], -(cotangent * labels), 1)
    return {"output": -_at_label(log, labels), "gradient of x": gradient}


def _log_of_softmax(logits: Bounded, by_log: Bounded, terms: int) -> tuple[Bounded, Bounded]:
    """Return the logarithm and the gradient of the logits; ``terms`` of a row are not 0."""
    softmax = _softmax(logits)
    by_softmax = by_log / softmax
    share = total(by_softmax * softmax, -1, terms)
    return softmax.apply(np.log, ULP["log"]), by_softmax * softmax - softmax * share


def _at_label(rows: Bounded, labels: Bounded) -> Bounded:
    return rows.linear(lambda row: (row * labels.value).sum(-1))


def crossentropy_from_logits(inputs: Inputs) -> Results:
    """Return ``log(sum(exp(x))) - x[label]``.

    The gradient's softmax is exp / sum (TensorFlow, JAX) or exp of its logarithm (PyTorch).
    """
    labels, cotangent = _one_hot(inputs), inputs.cotangent.linear(lambda c: c[:, None])
    shifted, _, summed = _exponentials(inputs["x"])
    log = shifted - summed.apply(np.log, ULP["log"])
    softmax = either(_softmax(inputs["x"]), log.apply(np.exp, ULP["exp"]))
    return {
        "output": -_at_label(log, labels),
        "gradient of x": cotangent * softmax - cotangent * labels,
    }


def _one_hot(inputs: Inputs) -> Bounded:
    classes = np.arange(inputs["x"].value.shape[-1])
    return Bounded(inputs["labels"].value[:, None] == classes)


def _exponentials(logits: Bounded) -> tuple[Bounded, Bounded, Bounded]:
    """Return the logits less their largest, the exponentials of that, and their sum."""
    shifted = logits - logits.linear(lambda z: z.max(-1, keepdims=True))
    exponentials = shifted.apply(np.exp, ULP["exp"])
    return shifted, exponentials, total(exponentials, -1, logits.value.shape[-1])


def _softmax(logits: Bounded) -> Bounded:
    _, exponentials, summed = _exponentials(logits)
    return exponentials / summed


def root_of_square(inputs: Inputs) -> Results:
    """Return ``sqrt((labels - x) ** 2)``."""
    difference = inputs["labels"] - inputs["x"].linear(np.ravel)
    root = (difference * difference).apply(np.sqrt, ULP["sqrt"])
    gradient = inputs.cotangent * HALF / root * TWO * difference
    return {"output": root, "gradient of x": -gradient.linear(lambda g: g[:, None])}


def sgd(learning_rate: float) -> Callable[[Inputs], Results]:
    """Return the reference of a step of SGD."""
    return lambda inputs: {"x": inputs["x"] - constant(learning_rate) * inputs.cotangent}


def adam(learning_rate: float, epsilon: float, done: int) -> Callable[[Inputs], Results]:
    """Return the reference of a step of Adam after ``done`` others, with Keras's betas.

    A moment is moved by ``(new - old) * (1 - beta)``, or is ``old * beta + new * (1 - beta)``.
    """

    def moved(old: Bounded, new: Bounded, beta: float) -> Bounded:
        rest = constant(1 - beta)
        return either(old + (new - old) * rest, old * constant(beta) + new * rest)

    def correction(beta: float) -> Bounded:
        power = constant(beta).apply(lambda b: b ** (done + 1), ULP["power"])
        return constant(1.0) - power

    def reference(inputs: Inputs) -> Results:
        gradient = inputs.cotangent
        momentum = moved(inputs["momentum"], gradient, 0.9)
        velocity = moved(inputs["velocity"], gradient * gradient, 0.999)
        rate = constant(learning_rate) * correction(0.999).apply(np.sqrt, ULP["sqrt"])
        rate = rate / correction(0.9)
        root = velocity.apply(np.sqrt, ULP["sqrt"]) + constant(epsilon)
        update = momentum * rate / root
        return {"x": inputs["x"] - update, "momentum": momentum, "velocity": velocity}

    return reference
