import json
import os
import re
import runpy
import sys
import time

import pytest

from experiments import catalog
from experiments.harness import interrupts
from experiments.harness.overrides import resolve
from experiments.harness.spec import ProcessError
from experiments.peers import startup


def test_a_command_is_timed_to_what_it_tells_or_to_its_end():
    code = f"import time; print('{startup.MARK}', time.time()); time.sleep(0.5)"
    told, whole = startup._timed("jax", "-c", code), startup._timed("jax", "-c", code + "; print()")
    assert 0 < told < whole - 0.4
    with pytest.raises(ProcessError, match="no such luck"):
        startup._timed("jax", "-c", "raise SystemExit('no such luck')")


def test_the_door_is_run_up_to_its_second_batch(monkeypatch, capsys):
    def door(module, run_name):
        assert (module, run_name, sys.argv[1:]) == (startup.DOOR, "__main__", ["--some", "words"])
        interrupts.check()
        assert not capsys.readouterr().out
        interrupts.check()

    monkeypatch.setattr(runpy, "run_module", door)
    monkeypatch.setattr(interrupts, "check", interrupts.check)
    monkeypatch.setattr(startup.os, "_exit", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["command"])
    startup.main(["harness", "--some", "words"])
    (told,) = re.findall(rf"{startup.MARK}(\S+)", capsys.readouterr().out)
    assert time.time() - 10 < float(told) <= time.time()


def test_a_bare_script_comes_to_the_end_of_its_first_step():
    arm = resolve(catalog.load("alexnet_lr_decay"), "fixed_rate", "mini", {"network.width": 1 / 16})
    bare = json.dumps([arm.network, arm.optimizer, arm.loss, 8, "digits"])
    backend = os.environ["KERAS_BACKEND"]
    assert 0.5 < startup._timed(backend, "-m", startup.__name__, "fit", bare) < 600
