import json
import os
import re
import time

import pytest

import experiments
from experiments import catalog
from experiments.benchmarks import startup_time
from experiments.harness.spec import ProcessError
from experiments.harness.spec.overrides import resolve

BACKEND = os.environ["KERAS_BACKEND"]
RUN = {
    "experiment": "alexnet_lr_decay",
    "arm": "fixed_rate",
    "scale": "mini",
    "source": "digits",
}


def test_a_process_is_timed_to_the_time_that_it_prints_or_to_its_end():
    code = f"import time; print('{startup_time.MARK}', time.time()); time.sleep(0.5)"
    printed = startup_time.time_process("jax", "-c", code)
    whole = startup_time.time_process("jax", "-c", f"{code}; print()")
    assert 0 < printed < whole - 0.4
    with pytest.raises(ProcessError, match="no such luck"):
        startup_time.time_process("jax", "-c", "raise SystemExit('no such luck')")


def test_the_harness_runs_the_arm_up_to_its_second_batch(monkeypatch, capsys):
    def run(name, *, callbacks, **arguments):
        assert (name, arguments) == (
            "alexnet_lr_decay",
            {
                "arms": ["fixed_rate"],
                "seeds": [0],
                "scale": "mini",
                "data": ["digits"],
                "logdir": "some/folder",
            },
        )
        (callback,) = callbacks
        callback.on_train_batch_begin(0)
        assert not capsys.readouterr().out
        callback.on_train_batch_begin(1)

    monkeypatch.setattr(experiments, "run", run)
    monkeypatch.setattr(startup_time.os, "_exit", lambda _: None)
    startup_time.main(["harness", json.dumps({**RUN, "logdir": "some/folder"})])
    (printed,) = re.findall(rf"{startup_time.MARK}(\S+)", capsys.readouterr().out)
    assert time.time() - 10 < float(printed) <= time.time()


def test_the_harness_reaches_the_end_of_its_first_step(tmp_path):
    seconds = startup_time.time_first_step(BACKEND, "harness", {**RUN, "logdir": str(tmp_path)})
    assert 0.5 < seconds < 600
    (checkpoint,) = tmp_path.glob("*/mini/*/seed0/state/*")
    assert checkpoint.name == "000000"  # it ended within the first interval


@pytest.mark.slow
def test_a_bare_script_reaches_the_end_of_its_first_step():
    arm = resolve(catalog.load("alexnet_lr_decay"), "fixed_rate", "mini", {"network.width": 1 / 16})
    arguments = {
        "network": arm.network,
        "optimizer": arm.optimizer,
        "loss": arm.loss,
        "batch_size": 8,
        "source": "digits",
    }
    assert 0.5 < startup_time.time_first_step(BACKEND, "fit", arguments) < 600
