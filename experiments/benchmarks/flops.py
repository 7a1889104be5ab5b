"""The operations of a training step, and how many per second this machine can do."""

from __future__ import annotations

import math
import time
from statistics import median
from typing import Any

MATRIX_SIZE = {"cpu": 4096, "accelerator": 16384}  # rows and columns
REPEATS = 5


def step_flops(model: Any) -> int:
    """Return the floating-point operations per example of a training step.

    Multiplications and additions of convolutions and dense layers are counted: the forward pass,
    the gradients of the weights, and those of the inputs of every layer but the first.
    """
    layers = [layer for layer in model.layers if getattr(layer, "kernel", None) is not None]
    forward = [
        2 * math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1]) for layer in layers
    ]
    return 3 * sum(forward) - forward[0]


def matrix_rate() -> dict[str, Any]:
    """Return the environment, and the operations per second of a large float32 matrix product.

    The rate is a median. Call it after ``determinism.start()``.
    """
    from keras import ops, random

    from experiments.harness.model.variables import to_numpy
    from experiments.harness.runtime import determinism

    environment = determinism.environment()
    size = MATRIX_SIZE["cpu" if environment["device"] == "cpu" else "accelerator"]
    a, b = (random.normal((size, size), seed=seed) for seed in (0, 1))
    seconds = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        to_numpy(ops.matmul(a, b)[0, 0])
        seconds.append(time.perf_counter() - start)
    return {"environment": environment, "rate": 2 * size**3 / median(seconds[1:])}
