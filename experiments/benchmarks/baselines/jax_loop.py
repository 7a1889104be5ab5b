"""A JAX loop as written by hand: one compiled step, layers and optimisers of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from experiments.benchmarks.rounds import Rounds, repeat
from experiments.benchmarks.task import SEED, Task, Weights
from experiments.harness.spec import Config

Parameters = dict[str, jax.Array]
Update = Callable[[Parameters, Any, Parameters], tuple[Parameters, Any]]


def train(given: Task, rounds: Rounds) -> None:
    """Do a round for each that is asked for."""
    repeat(Loop(given), given, rounds)


class Loop:
    """See ``rounds.Loop``."""

    def __init__(self, given: Task) -> None:
        self.task = given
        self.parameters = {name: jnp.array(value) for name, value in given.weights.items()}
        self.memory, update = optimizer(given.arm.optimizer, self.parameters)
        self.data = tuple(map(jnp.asarray, given.dataset.train(slice(None))))
        self.test = tuple(map(jnp.asarray, given.test()))
        self.key = jax.random.key(SEED)
        self.totals: list[jax.Array] = []

        def loss(p, x, y, key):
            logits = network(given, p, x, key)
            found = cross_entropy(logits, y, given.loss)
            return found, jnp.stack([found, jnp.mean(jnp.argmax(logits, 1) == y)])

        @partial(jax.jit, donate_argnums=(0, 1))
        def step(p, memory, data, chosen, key, number):
            x, y = (part[chosen] for part in data)
            key = jax.random.fold_in(key, number)
            gradients, told = jax.grad(loss, has_aux=True)(p, x, y, key)
            return *update(p, memory, gradients), told

        self._step = step
        self._told = jax.jit(lambda *words: loss(*words)[1])

    def step(self, number: int) -> None:
        chosen = self.task.indices(number)
        self.parameters, self.memory, told = self._step(
            self.parameters, self.memory, self.data, chosen, self.key, number
        )
        self.totals.append(told)

    def trained(self) -> list[float]:
        totals, self.totals = self.totals, []
        return np.mean(jax.device_get(totals), 0).tolist()

    def evaluate(self) -> list[float]:
        size = self.task.arm.test_batch
        told = [
            self._told(self.parameters, *(part[at : at + size] for part in self.test), self.key)
            for at in range(0, len(self.test[0]), size)
        ]
        return np.mean(jax.device_get(told), 0).tolist()

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(network(self.task, self.parameters, jnp.asarray(images), self.key))

    def weights(self) -> Weights:
        return {name: np.asarray(value) for name, value in self.parameters.items()}


def network(given: Task, p: Parameters, x: jax.Array, key: jax.Array) -> jax.Array:
    """Return the logits of images ``(batch, 28, 28, 1)``."""
    if given.image_size:
        return alexnet(p, x, given.image_size, given.dropout, key)
    return mnist_cnn(p, x)


def alexnet(p: Parameters, x: jax.Array, size: int, dropout: float, key: jax.Array) -> jax.Array:
    """Return the logits of images ``(batch, 28, 28, 1)``; dropout acts at evaluation too."""
    x = jax.image.resize(x, (len(x), size, size, 1), "bilinear")
    x = pool(normalized(jax.nn.relu(convolution(p, "conv1", x, 4, "VALID"))), 3)
    x = pool(normalized(jax.nn.relu(convolution(p, "conv2", x))), 3)
    x = jax.nn.relu(convolution(p, "conv3", x))
    x = jax.nn.relu(convolution(p, "conv4", x))
    x = pool(jax.nn.relu(convolution(p, "conv5", x)), 3)
    x = x.reshape(len(x), -1)
    for name, drawn in zip(("fc1", "fc2"), jax.random.split(key), strict=True):
        x = jax.nn.relu(dense(p, name, x))
        x = jnp.where(jax.random.bernoulli(drawn, 1 - dropout, x.shape), x / (1 - dropout), 0)
    return dense(p, "output", x)


def mnist_cnn(p: Parameters, x: jax.Array) -> jax.Array:
    """Return the logits of images ``(batch, 28, 28, 1)``."""
    for name in ("conv1", "conv2"):
        x = pool(jax.nn.relu(convolution(p, name, x)), 2)
    x = jax.nn.relu(dense(p, "fc1", x.reshape(len(x), -1)))
    return dense(p, "output", x)


def convolution(
    p: Parameters, name: str, x: jax.Array, stride: int = 1, padding: str = "SAME"
) -> jax.Array:
    """Convolve with a layer's kernel."""
    layout, strides = ("NHWC", "HWIO", "NHWC"), (stride, stride)
    found = lax.conv_general_dilated(
        x, p[f"{name}/kernel"], strides, padding, dimension_numbers=layout
    )
    return found + p[f"{name}/bias"]


def dense(p: Parameters, name: str, x: jax.Array) -> jax.Array:
    """Multiply by a layer's matrix."""
    return x @ p[f"{name}/kernel"] + p[f"{name}/bias"]


def pool(x: jax.Array, window: int) -> jax.Array:
    """Return the maximum of each window, two apart."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, 2, 2, 1), "VALID")


def normalized(x: jax.Array) -> jax.Array:
    """Normalise by the five channels around."""
    energy = lax.reduce_window(x**2, 0.0, lax.add, (1, 1, 1, 5), (1, 1, 1, 1), "SAME")
    return x * (1 + 2e-5 * energy) ** -0.75


def cross_entropy(logits: jax.Array, y: jax.Array, reduction: str) -> jax.Array:
    """Return the documents' loss: a bare log of a softmax, summed or averaged over the batch."""
    labels = jax.nn.one_hot(y, logits.shape[1])
    losses = -jnp.sum(labels * jnp.log(jax.nn.softmax(logits)), 1)
    return jnp.sum(losses) if reduction == "sum" else jnp.mean(losses)


def optimizer(told: Config, parameters: Parameters) -> tuple[Any, Update]:
    """Return what an arm's optimiser remembers at first, and its update."""
    options = told["config"]
    rate = options["learning_rate"]
    if told["class_name"] == "SGD":
        return (), partial(sgd, rate)
    zeros = {name: jnp.zeros_like(value) for name, value in parameters.items()}
    memory = 0, zeros, {name: jnp.copy(value) for name, value in zeros.items()}
    return memory, partial(adam, rate, options["epsilon"])


def sgd(rate: float, p: Parameters, memory: Any, gradients: Parameters) -> tuple[Parameters, Any]:
    """Step down the gradient."""
    return {name: value - rate * gradients[name] for name, value in p.items()}, memory


def adam(
    rate: float, epsilon: float, p: Parameters, memory: Any, gradients: Parameters
) -> tuple[Parameters, Any]:
    """Step as Adam does, with epsilon beside the uncorrected root, as in the documents."""
    count, means, squares = memory
    count = count + 1
    means = {name: 0.9 * m + 0.1 * gradients[name] for name, m in means.items()}
    squares = {name: 0.999 * s + 0.001 * gradients[name] ** 2 for name, s in squares.items()}
    rate = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    stepped = {
        name: value - rate * means[name] / (jnp.sqrt(squares[name]) + epsilon)
        for name, value in p.items()
    }
    return stepped, (count, means, squares)
