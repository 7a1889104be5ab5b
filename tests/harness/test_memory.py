"""What is left in memory of a run that was made."""

import gc
import weakref

import keras

from experiments import catalog
from experiments.harness import making, mnist, study, training
from tests.environment import ENVIRONMENT
from tests.faulty import TINY


def test_nothing_holds_a_model_whose_run_is_made(tmp_path, monkeypatch):
    digits = mnist.load("digits")[0]
    (run,) = study.plan(
        catalog.load("alexnet_lr_decay"),
        "mini",
        arms=["decayed_rate"],
        seeds=[0],
        changes=TINY | {"intervals": 1},
        data={"mnist": digits.identity()},
        environment=ENVIRONMENT,
    )
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
