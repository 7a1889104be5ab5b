"""Nothing outside of an arm changes how many steps are trained, or what is evaluated."""

from dataclasses import replace

import keras
import pytest

from experiments.harness.data import mnist
from experiments.harness.spec import UserError
from experiments.harness.spec.batching import group_runs
from experiments.harness.storage import checkpoint, run_directory
from experiments.harness.study import run_one
from experiments.harness.training.options import TrainOptions
from tests.helpers import corrupted_runs
from tests.helpers.environment import ENVIRONMENT

DIGITS = mnist.load("digits")[0]
OPTIONS = TrainOptions(telemetry_every=0)


def plan(**overrides):
    return corrupted_runs.plan_run(DIGITS, ENVIRONMENT, **overrides)


@pytest.mark.parametrize(
    "limit", [keras.config.set_max_steps_per_epoch, keras.config.set_max_epochs]
)
def test_limits_in_keras_config_are_refused(tmp_path, limit):
    limit(1)
    try:
        with pytest.raises(UserError, match=r"set_max_steps_per_epoch\(None\)"):
            run_one.train_or_load(plan(), tmp_path, DIGITS)
    finally:
        limit(None)


def test_an_interval_that_is_cut_short_is_not_saved(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            self.model.stop_training = self.model.optimizer.iterations > 3

    spec = plan()
    with pytest.raises(UserError, match="took 1 steps in interval 2, not 3"):
        run_one.train_or_load(
            spec, tmp_path, DIGITS, TrainOptions(telemetry_every=0, callbacks=[Stop()])
        )
    directory = run_directory.directory_of(spec, tmp_path)
    assert [*checkpoint.saved(directory / "state")] == [0, 1]
    whole = run_one.train_or_load(spec, tmp_path, DIGITS, OPTIONS)
    assert whole.status == "complete"
    assert whole.chain == run_one.train_or_load(spec, tmp_path / "whole", DIGITS, OPTIONS).chain


@pytest.mark.skipif(ENVIRONMENT["backend"] != "jax", reason="batches are trained on JAX")
def test_an_interval_of_a_batch_that_is_cut_short_is_not_saved(tmp_path, monkeypatch):
    from experiments.harness.training.batched.batch import BatchMember

    indices = BatchMember.indices
    monkeypatch.setattr(BatchMember, "indices", lambda *arguments: indices(*arguments)[:-1])
    (batch,) = group_runs([plan(), replace(plan(), seed=1)], 0)
    with pytest.raises(UserError, match="took 2 steps in interval 1, not 3"):
        run_one.train_or_load_batch(batch, tmp_path, DIGITS)


def test_accumulated_gradients_are_whole_intervals(tmp_path):
    spec = plan(**{"optimizer.gradient_accumulation_steps": 2, "intervals": 1})
    assert run_one.train_or_load(spec, tmp_path, DIGITS, OPTIONS).status == "complete"
