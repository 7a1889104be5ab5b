"""What is left in memory of a run that was made."""

import gc
import weakref

import keras

from experiments.harness import making, mnist, training
from tests.environment import ENVIRONMENT
from tests.faulty import planned


def test_nothing_holds_a_model_whose_run_is_made(tmp_path, monkeypatch):
    digits = mnist.load("digits")[0]
    run = planned(digits, ENVIRONMENT, intervals=1)
    compiled, models = training.compiled, []

    def noted(arm):
        model = compiled(arm)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(training, "compiled", noted)
    making.made(run, tmp_path, digits, telemetry=1)
    keras.utils.clear_session()
    gc.collect()
    assert [model() for model in models] == [None]
