"""Runs whose optimiser has a schedule and averages of its own, on any backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from experiments.harness.data import mnist
from experiments.harness.model.variables import to_numpy
from experiments.harness.runtime import determinism
from experiments.harness.spec import Run
from experiments.harness.storage import checkpoint, run_directory
from experiments.harness.study import run_one
from experiments.harness.training.options import TrainOptions
from experiments.harness.training.stepper import Stepper
from tests.helpers import corrupted_runs

COSINE = {
    "class_name": "CosineDecay",
    "config": {"initial_learning_rate": 4e-3, "decay_steps": 12},
}
AVERAGED = {"optimizer.use_ema": True, "optimizer.ema_momentum": 0.5}
OVERRIDES = {"schedule": [], "optimizer.learning_rate": COSINE, **AVERAGED}


def train_whole_stopped_and_replayed(folder: str) -> dict[str, Any]:
    """Train the run at once and in two parts, and replay its last interval."""
    digits = mnist.load("digits")[0]
    spec = corrupted_runs.plan_run(digits, determinism.environment(), **OVERRIDES)

    def train(logdir: Path, **options: Any) -> Run:
        options = TrainOptions(telemetry_every=0, **options)
        return run_one.train_or_load(spec, logdir, digits, options)

    whole = train(Path(folder) / "whole")
    train(Path(folder) / "parts", stop_after=3)
    resumed = train(Path(folder) / "parts")
    state = run_directory.directory_of(spec, Path(folder) / "parts") / "state"
    last = checkpoint.load(checkpoint.path(state, 4)).tensors
    stepper = Stepper(spec, digits, checkpoint.load(checkpoint.path(state, 3)))
    stepper.advance(stepper.end)
    model = keras.saving.load_model(state.parent / "model.keras")
    trained = (*stepper.model.trainable_variables, *stepper.model.optimizer.variables)
    after = stepper.tensors()  # the evaluation that follows may draw from the generators
    weights = {v.path: to_numpy(v).tobytes() for v in model.weights}
    return {
        "rates": whole.history["learning_rate"],
        "chains": [whole.chain, resumed.chain],
        "differing": [v.path for v in trained if after[v.path].tobytes() != last[v.path].tobytes()],
        "exported": all(last[path].tobytes() == value for path, value in weights.items()),
    }
