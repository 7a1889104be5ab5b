"""What every way of training is given: an arm, its data, and the weights that it begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.data import order, sources
from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import Arm
from experiments.harness.storage import run_record

SEED = 0
WEIGHTS = "weights.npz"
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Task:
    """Train ``arm`` on ``dataset``, from ``weights`` (``conv1/kernel``, laid out as in Keras).

    What is left on the way may be left in ``folder``.
    """

    arm: Arm
    dataset: Dataset
    weights: Weights
    folder: Path

    @property
    def loss(self) -> str:
        """How the loss of a batch comes from its examples': ``sum`` or ``mean``."""
        whole = self.arm.loss["config"]["reduction"] == "sum"
        return "sum" if whole else "mean"

    @property
    def dropout(self) -> float:
        """The rate after AlexNet's dense layers."""
        return self.arm.network["config"].get("dropout", 0.5)

    @property
    def image_size(self) -> int | None:
        """The side to which images are resized, None where they are not."""
        return self.arm.network["config"].get("image_size")

    def indices(self, step: int) -> NDArray[np.int64]:
        """Return where the examples of the batch at ``step`` stand in the training split."""
        return order.batch_indices(self.dataset, SEED, step, self.arm.batch_size, self.arm.held_out)

    def test(self) -> tuple[NDArray[Any], ...]:
        """Return the test examples that are evaluated after each interval."""
        return self.dataset.test(slice(self.arm.test_examples))


def load_task(arm: Mapping[str, Any], source: str, folder: str) -> Task:
    """Return the task of an arm as JSON, with the weights that are kept in ``folder``."""
    told = run_record.arm_from_json(arm)
    with np.load(Path(folder, WEIGHTS)) as arrays:
        return Task(told, sources.load(told.dataset, source)[0], dict(arrays), Path(folder))


def save_task(arm: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Keep the initial weights of the zoo's network in ``folder``; return its size and its work.

    ``parameters`` counts them, ``flops`` the floating-point operations of a training step. Runs
    in a process whose backend is started.
    """
    import keras

    from experiments.benchmarks import flops
    from experiments.harness.model import build

    keras.utils.set_random_seed(SEED)
    told = run_record.arm_from_json(arm)
    model = build.build_compiled(told)
    weights = {
        variable.path: keras.ops.convert_to_numpy(variable)
        for variable in model.trainable_variables
    }
    np.savez(Path(folder, WEIGHTS), **weights)
    count = told.batch_size * flops.step_flops(model)
    return {"parameters": model.count_params(), "flops": count}
