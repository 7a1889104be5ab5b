"""The task that every method is given: an arm, its data and its initial weights."""

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
WEIGHTS_FILE = "weights.npz"
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Task:
    """Train ``arm`` on ``dataset`` from ``weights``, by path (``conv1/kernel``) in Keras's layout.

    Methods may write temporary files to ``folder``.
    """

    arm: Arm
    dataset: Dataset
    weights: Weights
    folder: Path

    @property
    def loss_reduction(self) -> str:
        """How a batch's loss is reduced from its examples': ``sum`` or ``mean``."""
        return "sum" if self.arm.loss["config"]["reduction"] == "sum" else "mean"

    @property
    def dropout(self) -> float:
        """The dropout rate after AlexNet's dense layers."""
        return self.arm.network["config"].get("dropout", 0.5)

    @property
    def image_size(self) -> int | None:
        """The side that images are resized to, None if they are not."""
        return self.arm.network["config"].get("image_size")

    def batch_indices(self, step: int) -> NDArray[np.int64]:
        """Return the indices in the training split of the batch at ``step``."""
        return order.batch_indices(self.dataset, SEED, step, self.arm.batch_size, self.arm.held_out)

    def test_examples(self) -> tuple[NDArray[Any], ...]:
        """Return the test examples that are evaluated after each interval."""
        return self.dataset.test(slice(self.arm.test_examples))


@dataclass(frozen=True)
class SavedTask:
    """A task as JSON types: its arm, the source of its data, and the folder of its weights."""

    arm: Mapping[str, Any]
    source: str
    folder: str

    def load(self) -> Task:
        """Return the task; ``save_task`` must have written its weights."""
        arm = run_record.arm_from_json(self.arm)
        dataset, _ = sources.load(arm.dataset, self.source)
        with np.load(Path(self.folder, WEIGHTS_FILE)) as arrays:
            return Task(arm, dataset, dict(arrays), Path(self.folder))


def save_task(arm: Mapping[str, Any], folder: str) -> dict[str, int]:
    """Save initial weights for an arm in ``folder``, and return the size of its network.

    ``parameters`` is their number, ``flops`` the floating-point operations of a training step.
    Call it after ``determinism.start()``.
    """
    import keras

    from experiments.benchmarks import flops
    from experiments.harness.model import build
    from experiments.harness.model.variables import to_numpy

    keras.utils.set_random_seed(SEED)
    loaded = run_record.arm_from_json(arm)
    model = build.build_compiled(loaded)
    weights: dict[str, Any] = {v.path: to_numpy(v) for v in model.trainable_variables}
    np.savez(Path(folder, WEIGHTS_FILE), **weights)
    step_flops = loaded.batch_size * flops.step_flops(model)
    return {"parameters": model.count_params(), "flops": step_flops}
