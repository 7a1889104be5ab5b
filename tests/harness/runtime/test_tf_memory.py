"""What is left in memory of a run that was made."""

import gc
import weakref

import keras

from experiments.harness.data import mnist
from experiments.harness.model import build
from experiments.harness.study import run_one
from experiments.harness.training import trainer
from tests.helpers.corrupted_runs import planned
from tests.helpers.environment import ENVIRONMENT


def test_nothing_holds_a_model_whose_run_is_made(tmp_path, monkeypatch):
    digits = mnist.load("digits")[0]
    run = planned(digits, ENVIRONMENT, intervals=1)
    compiled, models = build.build_compiled, []

    def noted(arm):
        model = compiled(arm)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(trainer, "compiled", noted)
    run_one.train_or_load(run, tmp_path, digits, telemetry=1)
    keras.utils.clear_session()
    gc.collect()
    assert [model() for model in models] == [None]
