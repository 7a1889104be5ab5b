"""The short trainings that ``tests.portability`` repeats on other processors."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

STEPS, BATCH, TEST_EXAMPLES = 2, 8, 16
ARMS = (  # every network, loss and normalisation of the documents, at mini
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


CONTROL = ARMS[1]  # trained with the default profile, too: its initial values are random


def train(name: str, portable: bool) -> dict[str, Any]:
    """Train a short version of an arm on JAX; call it in a process without a backend.

    Returns the links of the fingerprint, and the digests of all tensors after each interval, the
    first of the initial state.
    """
    from experiments.harness.runtime import determinism

    sys.modules["tensorflow"] = None  # type: ignore[assignment]  # slow to import when emulated
    determinism.start(portable=portable)
    del sys.modules["tensorflow"]

    from experiments import catalog
    from experiments.harness.data import sources
    from experiments.harness.spec import RunSpec
    from experiments.harness.study import run_one
    from experiments.harness.training.options import TrainOptions

    experiment, _, arm_name = name.partition(":")
    arm = replace(
        catalog.load(experiment).at["mini"][arm_name],
        steps=STEPS,
        intervals=1,
        batch_size=BATCH,
        test_examples=TEST_EXAMPLES,
        test_batch=TEST_EXAMPLES,
    )
    dataset, _ = sources.load(arm.dataset, "digits" if arm.dataset == "mnist" else "frames")
    environment = determinism.environment()
    spec = RunSpec(experiment, arm_name, arm, 0, "mini", dataset.identity(), environment)
    with tempfile.TemporaryDirectory() as folder:
        run = run_one.train_or_load(spec, Path(folder), dataset, TrainOptions(telemetry_every=0))
    return {"chain": list(run.chain), "digests": [dict(digests) for digests in run.digests]}
