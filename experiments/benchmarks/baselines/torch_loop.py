"""A PyTorch loop as written by hand: eager, with PyTorch's own layers, optimisers and resizing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812 (as everyone calls it)

from experiments.benchmarks.rounds import Rounds, repeat
from experiments.benchmarks.task import Task, Weights
from experiments.harness.spec import Config

Parameters = dict[str, torch.Tensor]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def train(given: Task, rounds: Rounds) -> None:
    """Do a round for each that is asked for."""
    repeat(Loop(given), given, rounds)


class Loop:
    """See ``rounds.Loop``."""

    def __init__(self, given: Task) -> None:
        self.task = given
        self.parameters = {
            name: on_device(from_keras(value)).requires_grad_()
            for name, value in given.weights.items()
        }
        self.optimizer = optimizer(given.arm.optimizer, [*self.parameters.values()])
        self.data = examples(*given.dataset.train(slice(None)))
        self.test = examples(*given.test())
        self.totals: list[torch.Tensor] = []

    def step(self, number: int) -> None:
        chosen = on_device(self.task.indices(number))
        y = self.data[1][chosen]
        logits = self._network(self.data[0][chosen])
        loss = cross_entropy(logits, y, self.task.loss)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.totals.append(metrics(loss.detach(), logits, y))

    def trained(self) -> list[float]:
        totals, self.totals = self.totals, []
        return torch.stack(totals).mean(0).tolist()

    @torch.no_grad()
    def evaluate(self) -> list[float]:
        told = []
        batches = (part.split(self.task.arm.test_batch) for part in self.test)
        for x, y in zip(*batches, strict=True):
            logits = self._network(x)
            told.append(metrics(cross_entropy(logits, y, self.task.loss), logits, y))
        return torch.stack(told).mean(0).tolist()

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
    """Return the logits of images ``(batch, 1, 28, 28)``; dropout acts at evaluation too."""
    x = F.interpolate(x, (size, size), mode="bilinear")
    x = F.max_pool2d(normalized(F.relu(convolution(p, "conv1", x, stride=4))), 3, 2)
    x = F.max_pool2d(normalized(F.relu(convolution(p, "conv2", x, padding=2))), 3, 2)
    x = F.relu(convolution(p, "conv3", x, padding=1))
    x = F.relu(convolution(p, "conv4", x, padding=1))
    x = F.max_pool2d(F.relu(convolution(p, "conv5", x, padding=1)), 3, 2)
    x = x.permute(0, 2, 3, 1).flatten(1)  # the order in which fc1's weights are laid out
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
    """Convolve with a layer's kernel."""
    return F.conv2d(x, p[f"{name}/kernel"], p[f"{name}/bias"], **options)


def dense(p: Parameters, name: str, x: torch.Tensor) -> torch.Tensor:
    """Multiply by a layer's matrix."""
    return F.linear(x, p[f"{name}/kernel"], p[f"{name}/bias"])


def normalized(x: torch.Tensor) -> torch.Tensor:
    """Normalise by the five channels around; PyTorch divides its alpha by their number."""
    return F.local_response_norm(x, 5, alpha=5 * 2e-5, beta=0.75, k=1.0)


def cross_entropy(logits: torch.Tensor, y: torch.Tensor, reduction: str) -> torch.Tensor:
    """Return the documents' loss: a bare log of a softmax, summed or averaged over the batch."""
    labels = F.one_hot(y, logits.shape[1])
    losses = -(labels * torch.log(torch.softmax(logits, 1))).sum(1)
    return losses.sum() if reduction == "sum" else losses.mean()


def metrics(loss: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return loss and accuracy, still on the device."""
    return torch.stack([loss, (logits.argmax(1) == y).float().mean()])


def optimizer(told: Config, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    """Return PyTorch's optimiser for an arm's config; its Adam's epsilon is at a corrected root."""
    options = told["config"]
    if told["class_name"] == "SGD":
        return torch.optim.SGD(parameters, lr=options["learning_rate"])
    return torch.optim.Adam(parameters, lr=options["learning_rate"], eps=options["epsilon"])


def examples(x: NDArray[Any], y: NDArray[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels on the device, channels first."""
    return on_device(x.transpose(0, 3, 1, 2)).contiguous(), on_device(y.astype("int64"))


def on_device(values: NDArray[Any]) -> torch.Tensor:
    """Return a copy of an array as a tensor on the device."""
    return torch.tensor(values, device=DEVICE)


def from_keras(value: NDArray[Any]) -> NDArray[Any]:
    """Return a kernel laid out as PyTorch has it: outputs first."""
    return np.moveaxis(value, (-1, -2), (0, 1)) if value.ndim > 1 else value


def to_keras(value: torch.Tensor) -> NDArray[Any]:
    """Return a kernel laid out as Keras has it: outputs last."""
    array = value.detach().cpu().numpy()
    return np.moveaxis(array, (0, 1), (-1, -2)) if array.ndim > 1 else array
