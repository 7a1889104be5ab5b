"""Training leaves no model in memory."""

import gc
import weakref

import keras

from experiments.harness.data import mnist
from experiments.harness.model import build
from experiments.harness.study import run_one
from experiments.harness.training.options import TrainOptions
from tests.helpers.corrupted_runs import plan_run
from tests.helpers.environment import ENVIRONMENT


def test_a_trained_model_is_released(tmp_path, monkeypatch):
    digits = mnist.load("digits")[0]
    spec = plan_run(digits, ENVIRONMENT, intervals=1)
    build_compiled, models = build.build_compiled, []

    def build_and_record(*args):
        model = build_compiled(*args)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(build, "build_compiled", build_and_record)
    run_one.train_or_load(spec, tmp_path, digits, TrainOptions(telemetry_every=1))
    keras.utils.clear_session()
    gc.collect()
    assert [model() for model in models] == [None]
