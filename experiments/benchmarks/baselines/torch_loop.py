"""A hand-written, eager PyTorch loop, with PyTorch's own layers, optimisers and resizing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812 (the usual name)

from experiments.benchmarks.rounds import Rounds, run_rounds
from experiments.benchmarks.task import Task, Weights
from experiments.harness.spec import Config

Parameters = dict[str, torch.Tensor]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def train(task: Task, rounds: Rounds) -> None:
    """Train for as many rounds as are requested."""
    run_rounds(Loop(task), task, rounds)


class Loop:
    """A ``rounds.Loop``."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.parameters = {
            name: on_device(from_keras(value)).requires_grad_()
            for name, value in task.weights.items()
        }
        self.optimizer = optimizer(task.arm.optimizer, [*self.parameters.values()])
        self.data = examples(*task.dataset.train(slice(None)))
        self.test = examples(*task.test_examples())
        self.metrics: list[torch.Tensor] = []

    def step(self, number: int) -> None:
        indices = on_device(self.task.batch_indices(number))
        x, y = (part[indices] for part in self.data)
        logits = self._network(x)
        loss = cross_entropy(logits, y, self.task.loss_reduction)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.metrics.append(metrics(loss.detach(), logits, y))

    def finish_steps(self) -> list[float]:
        step_metrics, self.metrics = self.metrics, []
        return torch.stack(step_metrics).mean(0).tolist()

    @torch.no_grad()
    def evaluate(self) -> list[float]:
        batch_metrics = []
        batches = (part.split(self.task.arm.test_batch) for part in self.test)
        for x, y in zip(*batches, strict=True):
            logits = self._network(x)
            loss = cross_entropy(logits, y, self.task.loss_reduction)
            batch_metrics.append(metrics(loss, logits, y))
        return torch.stack(batch_metrics).mean(0).tolist()

    @torch.no_grad()
    def logits(self, images: NDArray[Any]) -> NDArray[Any]:
        return self._network(on_device(images.transpose(0, 3, 1, 2))).cpu().numpy()

    def weights(self) -> Weights:
        return {name: to_keras(value) for name, value in self.parameters.items()}

    def _network(self, x: torch.Tensor) -> torch.Tensor:
        if size := self.task.image_size:
            return alexnet(self.parameters, x, size, self.task.dropout)
        return mnist_cnn(self.parameters, x)


def alexnet(p: Parameters, x: torch.Tensor, size: int, dropout: float) -> torch.Tensor:
    """Return the logits of images ``(batch, 1, 28, 28)``; dropout is active in evaluation too."""
    x = F.interpolate(x, (size, size), mode="bilinear")
    x = F.max_pool2d(normalized(F.relu(convolution(p, "conv1", x, stride=4))), 3, 2)
    x = F.max_pool2d(normalized(F.relu(convolution(p, "conv2", x, padding=2))), 3, 2)
    x = F.relu(convolution(p, "conv3", x, padding=1))
    x = F.relu(convolution(p, "conv4", x, padding=1))
    x = F.max_pool2d(F.relu(convolution(p, "conv5", x, padding=1)), 3, 2)
    x = x.permute(0, 2, 3, 1).flatten(1)  # fc1's weights are in this order
    for name in ("fc1", "fc2"):
        x = F.dropout(F.relu(dense(p, name, x)), dropout)
    return dense(p, "output", x)


def mnist_cnn(p: Parameters, x: torch.Tensor) -> torch.Tensor:
    """Return the logits of images ``(batch, 1, 28, 28)``."""
    for name in ("conv1", "conv2"):
        x = F.max_pool2d(F.relu(convolution(p, name, x, padding=2)), 2)
    x = F.relu(dense(p, "fc1", x.permute(0, 2, 3, 1).flatten(1)))
    return dense(p, "output", x)


def convolution(p: Parameters, name: str, x: torch.Tensor, **options: int) -> torch.Tensor:
    """Apply a convolutional layer."""
    return F.conv2d(x, p[f"{name}/kernel"], p[f"{name}/bias"], **options)


def dense(p: Parameters, name: str, x: torch.Tensor) -> torch.Tensor:
    """Apply a dense layer."""
    return F.linear(x, p[f"{name}/kernel"], p[f"{name}/bias"])


def normalized(x: torch.Tensor) -> torch.Tensor:
    """Apply local response normalisation over five channels; PyTorch divides alpha by five."""
    return F.local_response_norm(x, 5, alpha=5 * 2e-5, beta=0.75, k=1.0)


def cross_entropy(logits: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
    """Return the documents' loss: the plain log of a softmax, summed or averaged."""
    labels = F.one_hot(y, logits.shape[1])
    losses = -(labels * torch.log(torch.softmax(logits, 1))).sum(1)
    return losses.sum() if reduction == "sum" else losses.mean()


def metrics(loss: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return loss and accuracy, still on the device."""
    return torch.stack([loss, (logits.argmax(1) == y).float().mean()])


def optimizer(config: Config, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """Return PyTorch's optimiser for an arm's config; its Adam corrects the root before epsilon."""
    options = config["config"]
    if config["class_name"] == "SGD":
        return torch.optim.SGD(parameters, lr=options["learning_rate"])
    return torch.optim.Adam(parameters, lr=options["learning_rate"], eps=options["epsilon"])


def examples(x: NDArray[Any], y: NDArray[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels on the device, channels first."""
    return on_device(x.transpose(0, 3, 1, 2)).contiguous(), on_device(y.astype("int64"))


def on_device(values: NDArray[Any]) -> torch.Tensor:
    """Return a copy of an array as a tensor on the device."""
    return torch.tensor(values, device=DEVICE)


def from_keras(value: NDArray[Any]) -> NDArray[Any]:
    """Return a weight in PyTorch's layout: outputs first."""
    return np.moveaxis(value, (-1, -2), (0, 1)) if value.ndim > 1 else value


def to_keras(value: torch.Tensor) -> NDArray[Any]:
    """Return a weight in Keras's layout: outputs last."""
    array = value.detach().cpu().numpy()
    return np.moveaxis(array, (0, 1), (-1, -2)) if array.ndim > 1 else array
