"""The short trainings that ``tests.portability`` repeats on other processors."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.harness.spec import Arm

STEPS, BATCH, TEST_EXAMPLES = 2, 8, 16
SELF_TEST = "self-test"  # stands for an experiment; its arms are those of ``self_test_runs``
ARMS = (  # those, and every network, loss and normalisation of the documents, at mini
    f"{SELF_TEST}:lrn_sgd",
    f"{SELF_TEST}:batch_norm_adam",
    "constant_init:as_documented",
    "init_std_sweep:std_0.1",
    "depth_and_activation:tanh_xavier_plain_20",
    "depth_and_activation:relu_he_batchnorm_10",
    "depth_and_activation:sigmoid_xavier_plain_10",
    "alexnet_lr_decay:decayed_rate",
    "alexnet_batch_norm:as_documented",
    "alexnet_grouped:as_documented",
    "weights_or_biases:as_documented",
)
CONTROL = "init_std_sweep:std_0.1"  # with the default profile, too; its initial values are random


def train(name: str, portable: bool) -> dict[str, Any]:
    """Train a short version of an arm on JAX; call it in a process without a backend.

    ``name``: an arm, ``experiment:arm``. Returns the links of the fingerprint, and the digests of
    all tensors after each interval, the first of the initial state.
    """
    from experiments.harness.runtime import determinism

    sys.modules["tensorflow"] = None  # type: ignore[assignment]  # slow to import when emulated
    determinism.start(portable=portable)
    del sys.modules["tensorflow"]

    from experiments.harness.data import sources
    from experiments.harness.spec import RunSpec
    from experiments.harness.study import run_one
    from experiments.harness.training.options import TrainOptions

    experiment, _, arm_name = name.partition(":")
    arm = short_arm(experiment, arm_name)
    dataset, _ = sources.load(arm.dataset, "digits" if arm.dataset == "mnist" else "frames")
    environment = determinism.environment()
    spec = RunSpec(experiment, arm_name, arm, 0, "mini", dataset.identity(), environment)
    with tempfile.TemporaryDirectory() as folder:
        run = run_one.train_or_load(spec, Path(folder), dataset, TrainOptions(telemetry_every=0))
    return {"chain": list(run.chain), "digests": [dict(digests) for digests in run.digests]}


def short_arm(experiment: str, name: str) -> Arm:
    """Return the arm to train: that of the self-test, or a short version of an experiment's."""
    from experiments import catalog

    if experiment == SELF_TEST:
        from experiments.verification import self_test_runs

        return self_test_runs.RUNS[name]
    return replace(
        catalog.load(experiment).at["mini"][name],
        steps=STEPS,
        intervals=1,
        batch_size=BATCH,
        test_examples=TEST_EXAMPLES,
        test_batch=TEST_EXAMPLES,
    )
