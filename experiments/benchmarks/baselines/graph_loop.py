"""The documents' way: a TensorFlow 1 graph, a session fed by ``feed_dict``, OpenCV on the host."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import tensorflow.compat.v1 as tf
from numpy.typing import NDArray

from experiments.benchmarks.rounds import Rounds, repeat
from experiments.benchmarks.task import SEED, Task, Weights
from experiments.harness.spec import Config

Parameters = dict[str, Any]
CLASSES = 10


def train(given: Task, rounds: Rounds) -> None:
    """Do a round for each that is asked for."""
    repeat(Loop(given), given, rounds)


class Loop:
    """See ``rounds.Loop``. The accuracy of each step is another pass, where the document has it."""

    def __init__(self, given: Task) -> None:
        self.task = given
        self.x, self.y = given.dataset.train(slice(None))
        self.test = given.test()
        self.totals: list[float] = []
        with tf.Graph().as_default():
            tf.set_random_seed(SEED)
            self.parameters = {name: tf.Variable(value) for name, value in given.weights.items()}
            side = given.image_size or 28
            self.images = tf.placeholder(tf.float32, [None, side, side, 1])
            self.labels = tf.placeholder(tf.float32, [None, CLASSES])
            self.output = network(given, self.parameters, self.images)
            softmax = tf.nn.softmax(self.output)
            losses = -tf.reduce_sum(self.labels * tf.log(softmax), 1)
            self.loss = (tf.reduce_sum if given.loss == "sum" else tf.reduce_mean)(losses)
            right = tf.equal(tf.argmax(softmax, 1), tf.argmax(self.labels, 1))
            self.accuracy = tf.reduce_mean(tf.cast(right, tf.float32))
            self.update = optimizer(given.arm.optimizer).minimize(self.loss)
            self.session = tf.Session()
            self.session.run(tf.global_variables_initializer())

    def step(self, number: int) -> None:
        chosen = self.task.indices(number)
        feed = self._feed(self.x[chosen], self.y[chosen])
        self.session.run(self.update, feed_dict=feed)
        if self.task.image_size:
            self.totals.append(self.session.run(self.accuracy, feed_dict=feed))

    def trained(self) -> list[float]:
        totals, self.totals = self.totals, []
        return [float(np.mean(totals))] if totals else []

    def evaluate(self) -> list[float]:
        size = self.task.arm.test_batch
        told = []
        for at in range(0, len(self.test[0]), size):
            feed = self._feed(*(part[at : at + size] for part in self.test))
            told.append(self.session.run([self.loss, self.accuracy], feed_dict=feed))
        return np.mean(told, 0).tolist()

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        feed = self._feed(images, np.zeros(len(images), "int32"))
        return self.session.run(self.output, feed_dict=feed)

    def weights(self) -> Weights:
        return self.session.run(self.parameters)

    def _feed(self, images: NDArray[Any], labels: NDArray[Any]) -> dict[Any, NDArray[Any]]:
        if side := self.task.image_size:
            large = np.array([cv2.resize(image[..., 0], (side, side)) for image in images])
            images = large.reshape(-1, side, side, 1)
        return {self.images: images, self.labels: np.eye(CLASSES, dtype="float32")[labels]}


def network(given: Task, p: Parameters, x: Any) -> Any:
    """Return the logits of images ``(batch, side, side, 1)``."""
    return alexnet(p, x, given.dropout) if given.image_size else mnist_cnn(p, x)


def alexnet(p: Parameters, x: Any, dropout: float) -> Any:
    """Return document 002's logits; dropout acts at evaluation too."""
    x = pool(normalized(tf.nn.relu(convolution(p, "conv1", x, 4, "VALID"))), 3)
    x = pool(normalized(tf.nn.relu(convolution(p, "conv2", x))), 3)
    x = tf.nn.relu(convolution(p, "conv3", x))
    x = tf.nn.relu(convolution(p, "conv4", x))
    x = pool(tf.nn.relu(convolution(p, "conv5", x)), 3)
    x = tf.reshape(x, [-1, p["fc1/kernel"].shape[0]])
    for name in ("fc1", "fc2"):
        x = tf.nn.dropout(tf.nn.relu(dense(p, name, x)), rate=dropout)
    return dense(p, "output", x)


def mnist_cnn(p: Parameters, x: Any) -> Any:
    """Return document 000's logits."""
    for name in ("conv1", "conv2"):
        x = pool(tf.nn.relu(convolution(p, name, x)), 2)
    x = tf.nn.relu(dense(p, "fc1", tf.reshape(x, [-1, p["fc1/kernel"].shape[0]])))
    return dense(p, "output", x)


def convolution(p: Parameters, name: str, x: Any, stride: int = 1, padding: str = "SAME") -> Any:
    """Convolve with a layer's kernel."""
    found = tf.nn.conv2d(x, p[f"{name}/kernel"], strides=[1, stride, stride, 1], padding=padding)
    return tf.nn.bias_add(found, p[f"{name}/bias"])


def dense(p: Parameters, name: str, x: Any) -> Any:
    """Multiply by a layer's matrix."""
    return tf.add(tf.matmul(x, p[f"{name}/kernel"]), p[f"{name}/bias"])


def pool(x: Any, window: int) -> Any:
    """Return the maximum of each window, two apart."""
    return tf.nn.max_pool(x, [1, window, window, 1], [1, 2, 2, 1], padding="VALID")


def normalized(x: Any) -> Any:
    """Normalise by the five channels around."""
    return tf.nn.local_response_normalization(x, depth_radius=2, bias=1.0, alpha=2e-5, beta=0.75)


def optimizer(told: Config) -> Any:
    """Return TensorFlow 1's optimiser for an arm's config."""
    options = told["config"]
    if told["class_name"] == "SGD":
        return tf.train.GradientDescentOptimizer(options["learning_rate"])
    return tf.train.AdamOptimizer(options["learning_rate"], epsilon=options["epsilon"])
