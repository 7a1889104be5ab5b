"""The documents' own way: a TensorFlow 1 graph, fed by ``feed_dict``, and OpenCV on the host."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import tensorflow.compat.v1 as tf
from numpy.typing import NDArray

from experiments.benchmarks.rounds import Rounds, run_rounds
from experiments.benchmarks.task import SEED, Task, Weights
from experiments.harness.spec import Config

Parameters = dict[str, Any]
CLASSES = 10


def train(task: Task, rounds: Rounds) -> None:
    """Train for as many rounds as are requested."""
    run_rounds(Loop(task), task, rounds)


class Loop:
    """A ``rounds.Loop``. AlexNet's accuracy takes another pass per step, as in document 002."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.x, self.y = task.dataset.train(slice(None))
        self.test = task.test_examples()
        self.accuracies: list[float] = []
        with tf.Graph().as_default():
            tf.set_random_seed(SEED)
            self.parameters = {name: tf.Variable(value) for name, value in task.weights.items()}
            side = task.image_size or 28
            self.images = tf.placeholder(tf.float32, [None, side, side, 1])
            self.labels = tf.placeholder(tf.float32, [None, CLASSES])
            self.output = network(task, self.parameters, self.images)
            softmax = tf.nn.softmax(self.output)
            losses = -tf.reduce_sum(self.labels * tf.log(softmax), 1)
            self.loss = (tf.reduce_sum if task.loss_reduction == "sum" else tf.reduce_mean)(losses)
            correct = tf.equal(tf.argmax(softmax, 1), tf.argmax(self.labels, 1))
            self.accuracy = tf.reduce_mean(tf.cast(correct, tf.float32))
            self.update = optimizer(task.arm.optimizer).minimize(self.loss)
            self.session = tf.Session()
            self.session.run(tf.global_variables_initializer())

    def step(self, number: int) -> None:
        indices = self.task.batch_indices(number)
        feed = self._feed(self.x[indices], self.y[indices])
        self.session.run(self.update, feed_dict=feed)
        if self.task.image_size:
            self.accuracies.append(self.session.run(self.accuracy, feed_dict=feed))

    def finish_steps(self) -> list[float]:
        accuracies, self.accuracies = self.accuracies, []
        return [float(np.mean(accuracies))] if accuracies else []

    def evaluate(self) -> list[float]:
        size = self.task.arm.test_batch
        metrics = []
        for start in range(0, len(self.test[0]), size):
            feed = self._feed(*(part[start : start + size] for part in self.test))
            metrics.append(self.session.run([self.loss, self.accuracy], feed_dict=feed))
        return np.mean(metrics, 0).tolist()

    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        feed = self._feed(images, np.zeros(len(images), "int32"))
        return self.session.run(self.output, feed_dict=feed)

    def weights(self) -> Weights:
        return self.session.run(self.parameters)

    def _feed(self, images: NDArray[Any], labels: NDArray[Any]) -> dict[Any, NDArray[Any]]:
        if side := self.task.image_size:
            resized = np.array([cv2.resize(image[..., 0], (side, side)) for image in images])
            images = resized.reshape(-1, side, side, 1)
        return {self.images: images, self.labels: np.eye(CLASSES, dtype="float32")[labels]}


def network(task: Task, p: Parameters, x: Any) -> Any:
    """Return the logits of images ``(batch, side, side, 1)``."""
    return alexnet(p, x, task.dropout) if task.image_size else mnist_cnn(p, x)


def alexnet(p: Parameters, x: Any, dropout: float) -> Any:
    """Return document 002's logits; dropout is active in evaluation too."""
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
    """Apply a convolutional layer."""
    output = tf.nn.conv2d(x, p[f"{name}/kernel"], strides=[1, stride, stride, 1], padding=padding)
    return tf.nn.bias_add(output, p[f"{name}/bias"])


def dense(p: Parameters, name: str, x: Any) -> Any:
    """Apply a dense layer."""
    return tf.add(tf.matmul(x, p[f"{name}/kernel"]), p[f"{name}/bias"])


def pool(x: Any, window: int) -> Any:
    """Apply max-pooling with stride 2."""
    return tf.nn.max_pool(x, [1, window, window, 1], [1, 2, 2, 1], padding="VALID")


def normalized(x: Any) -> Any:
    """Apply local response normalisation over five channels."""
    return tf.nn.local_response_normalization(x, depth_radius=2, bias=1.0, alpha=2e-5, beta=0.75)


def optimizer(config: Config) -> Any:
    """Return TensorFlow 1's optimiser for an arm's config."""
    options = config["config"]
    if config["class_name"] == "SGD":
        return tf.train.GradientDescentOptimizer(options["learning_rate"])
    return tf.train.AdamOptimizer(options["learning_rate"], epsilon=options["epsilon"])
