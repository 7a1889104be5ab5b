"""A hand-written JAX loop: one compiled step, with its own layers and optimisers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from experiments.benchmarks.rounds import Rounds, run_rounds
from experiments.benchmarks.task import SEED, Task, Weights
from experiments.harness.spec import Config

Parameters = dict[str, jax.Array]
Update = Callable[[Parameters, Any, Parameters], tuple[Parameters, Any]]


def train(task: Task, rounds: Rounds) -> None:
    """Train for as many rounds as are requested."""
    run_rounds(Loop(task), task, rounds)


class Loop:
    """A ``rounds.Loop``."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.parameters = {name: jnp.array(value) for name, value in task.weights.items()}
        self.state, update = optimizer(task.arm.optimizer, self.parameters)
        self.data = tuple(map(jnp.asarray, task.dataset.train(slice(None))))
        self.test = tuple(map(jnp.asarray, task.test_examples()))
        self.key = jax.random.key(SEED)
        self.metrics: list[jax.Array] = []

        def loss(p, x, y, key):
            logits = network(task, p, x, key)
            value = cross_entropy(logits, y, task.loss_reduction)
            return value, jnp.stack([value, jnp.mean(jnp.argmax(logits, 1) == y)])

        @partial(jax.jit, donate_argnums=(0, 1))
        def step(p, state, data, indices, key, number):
            x, y = (part[indices] for part in data)
            key = jax.random.fold_in(key, number)
            gradients, metrics = jax.grad(loss, has_aux=True)(p, x, y, key)
            return *update(p, state, gradients), metrics

        self._step = step
        self._evaluate = jax.jit(lambda *arguments: loss(*arguments)[1])

    def step(self, number: int) -> None:
        indices = self.task.batch_indices(number)
        self.parameters, self.state, metrics = self._step(
            self.parameters, self.state, self.data, indices, self.key, number
        )
        self.metrics.append(metrics)

    def finish_steps(self) -> list[float]:
        metrics, self.metrics = self.metrics, []
        return np.mean(jax.device_get(metrics), 0).tolist()

    def evaluate(self) -> list[float]:
        size = self.task.arm.test_batch
        metrics = []
        for start in range(0, len(self.test[0]), size):
            x, y = (part[start : start + size] for part in self.test)
            metrics.append(self._evaluate(self.parameters, x, y, self.key))
        return np.mean(jax.device_get(metrics), 0).tolist()

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(network(self.task, self.parameters, jnp.asarray(images), self.key))

    def weights(self) -> Weights:
        return {name: np.asarray(value) for name, value in self.parameters.items()}


def network(task: Task, p: Parameters, x: jax.Array, key: jax.Array) -> jax.Array:
    """Return the logits of images ``(batch, 28, 28, 1)``."""
    if task.image_size:
        return alexnet(p, x, task.image_size, task.dropout, key)
    return mnist_cnn(p, x)


def alexnet(p: Parameters, x: jax.Array, size: int, dropout: float, key: jax.Array) -> jax.Array:
    """Return the logits of images ``(batch, 28, 28, 1)``; dropout is active in evaluation too."""
    x = jax.image.resize(x, (len(x), size, size, 1), "bilinear")
    x = pool(normalized(jax.nn.relu(convolution(p, "conv1", x, 4, "VALID"))), 3)
    x = pool(normalized(jax.nn.relu(convolution(p, "conv2", x))), 3)
    x = jax.nn.relu(convolution(p, "conv3", x))
    x = jax.nn.relu(convolution(p, "conv4", x))
    x = pool(jax.nn.relu(convolution(p, "conv5", x)), 3)
    x = x.reshape(len(x), -1)
    for name, dropout_key in zip(("fc1", "fc2"), jax.random.split(key), strict=True):
        x = jax.nn.relu(dense(p, name, x))
        x = jnp.where(jax.random.bernoulli(dropout_key, 1 - dropout, x.shape), x / (1 - dropout), 0)
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
    """Apply a convolutional layer."""
    layout, strides = ("NHWC", "HWIO", "NHWC"), (stride, stride)
    output = lax.conv_general_dilated(
        x, p[f"{name}/kernel"], strides, padding, dimension_numbers=layout
    )
    return output + p[f"{name}/bias"]


def dense(p: Parameters, name: str, x: jax.Array) -> jax.Array:
    """Apply a dense layer."""
    return x @ p[f"{name}/kernel"] + p[f"{name}/bias"]


def pool(x: jax.Array, window: int) -> jax.Array:
    """Apply max-pooling with stride 2."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, 2, 2, 1), "VALID")


def normalized(x: jax.Array) -> jax.Array:
    """Apply local response normalisation over five channels."""
    energy = lax.reduce_window(x**2, 0.0, lax.add, (1, 1, 1, 5), (1, 1, 1, 1), "SAME")
    return x * (1 + 2e-5 * energy) ** -0.75


def cross_entropy(logits: jax.Array, y: jax.Array, reduction: str) -> jax.Array:
    """Return the documents' loss: the plain log of a softmax, summed or averaged."""
    labels = jax.nn.one_hot(y, logits.shape[1])
    losses = -jnp.sum(labels * jnp.log(jax.nn.softmax(logits)), 1)
    return jnp.sum(losses) if reduction == "sum" else jnp.mean(losses)


def optimizer(config: Config, parameters: Parameters) -> tuple[Any, Update]:
    """Return the initial state of an arm's optimiser, and its update function."""
    options = config["config"]
    rate = options["learning_rate"]
    if config["class_name"] == "SGD":
        return (), partial(sgd, rate)
    zeros = {name: jnp.zeros_like(value) for name, value in parameters.items()}
    state = 0, zeros, {name: jnp.copy(value) for name, value in zeros.items()}
    return state, partial(adam, rate, options["epsilon"])


def sgd(rate: float, p: Parameters, state: Any, gradients: Parameters) -> tuple[Parameters, Any]:
    """Return parameters and state after a step of gradient descent."""
    return {name: value - rate * gradients[name] for name, value in p.items()}, state


def adam(
    rate: float, epsilon: float, p: Parameters, state: Any, gradients: Parameters
) -> tuple[Parameters, Any]:
    """Return both after a step of Adam; epsilon is added to the uncorrected root, as documented."""
    count, means, squares = state
    count = count + 1
    means = {name: 0.9 * m + 0.1 * gradients[name] for name, m in means.items()}
    squares = {name: 0.999 * s + 0.001 * gradients[name] ** 2 for name, s in squares.items()}
    rate = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    updated = {
        name: value - rate * means[name] / (jnp.sqrt(squares[name]) + epsilon)
        for name, value in p.items()
    }
    return updated, (count, means, squares)
