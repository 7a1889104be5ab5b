"""How many operations a training step takes, and how many a second the machine can do."""

from __future__ import annotations

import math
import time
from statistics import median
from typing import Any

SIDE = {"cpu": 4096, "accelerator": 16384}  # of the square matrices that are multiplied
TIMES = 5


def step_flops(model: Any) -> int:
    """Return the floating-point operations that an example takes in a training step.

    Counted are the products and sums of convolutions and dense layers: forward, for the weights'
    gradients, and for the inputs' but the first layer's, which has none.
    """
    layers = [layer for layer in model.layers if getattr(layer, "kernel", None) is not None]
    places = [math.prod(layer.output.shape[1:-1]) for layer in layers]
    forward = [
        2 * math.prod(layer.kernel.shape) * times
        for layer, times in zip(layers, places, strict=True)
    ]
    return 3 * sum(forward) - forward[0]


def matrix_rate() -> dict[str, Any]:
    """Return the operations a second of a large float32 matrix product, the median of a few.

    Runs in a process whose backend is started, and says in which environment that was.
    """
    from keras import ops, random

    from experiments.harness.runtime import determinism

    environment = determinism.environment()
    side = SIDE["cpu" if environment["device"] == "cpu" else "accelerator"]
    one, other = (random.normal((side, side), seed=seed) for seed in (0, 1))
    seconds = []
    for _ in range(1 + TIMES):
        began = time.perf_counter()
        ops.convert_to_numpy(ops.matmul(one, other)[0, 0])
        seconds.append(time.perf_counter() - began)
    return {"environment": environment, "rate": 2 * side**3 / median(seconds[1:])}
