import json
import os
import re
import runpy
import sys
import time

import pytest

from experiments import catalog
from experiments.benchmarks import startup_time
from experiments.harness.runtime import signals
from experiments.harness.spec import ProcessError
from experiments.harness.spec.overrides import resolve


def test_a_command_is_timed_to_what_it_tells_or_to_its_end():
    code = f"import time; print('{startup_time.MARK}', time.time()); time.sleep(0.5)"
    told, whole = (
        startup_time._timed("jax", "-c", code),
        startup_time._timed("jax", "-c", code + "; print()"),
    )
    assert 0 < told < whole - 0.4
    with pytest.raises(ProcessError, match="no such luck"):
        startup_time._timed("jax", "-c", "raise SystemExit('no such luck')")


def test_the_door_is_run_up_to_its_second_batch(monkeypatch, capsys):
    def door(module, run_name):
        assert (module, run_name, sys.argv[1:]) == (
            startup_time.DOOR,
            "__main__",
            ["--some", "words"],
        )
        signals.raise_if_interrupted()
        assert not capsys.readouterr().out
        signals.raise_if_interrupted()

    monkeypatch.setattr(runpy, "run_module", door)
    monkeypatch.setattr(signals, "check", signals.raise_if_interrupted)
    monkeypatch.setattr(startup_time.os, "_exit", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["command"])
    startup_time.main(["harness", "--some", "words"])
    (told,) = re.findall(rf"{startup_time.MARK}(\S+)", capsys.readouterr().out)
    assert time.time() - 10 < float(told) <= time.time()


def test_a_bare_script_comes_to_the_end_of_its_first_step():
    arm = resolve(catalog.load("alexnet_lr_decay"), "fixed_rate", "mini", {"network.width": 1 / 16})
    bare = json.dumps([arm.network, arm.optimizer, arm.loss, 8, "digits"])
    backend = os.environ["KERAS_BACKEND"]
    assert 0.5 < startup_time._timed(backend, "-m", startup_time.__name__, "fit", bare) < 600
