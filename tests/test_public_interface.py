"""``experiments``: what it offers from Python, beside what ``test_report`` uses."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import experiments
from experiments.harness.runtime import determinism
from experiments.harness.telemetry.callback import Telemetry
from tests.helpers.corrupted_runs import SMALL_CNN

TINY = SMALL_CNN | {"batch_size": 8, "steps": 2, "intervals": 3, "test_examples": 20}
OPTIONS = {"scale": "mini", "arms": "decayed_rate", "seeds": [0], "data": "digits"}
OPTIONS |= {"overrides": TINY, "telemetry_every": 0}


class EpochRecorder(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[int] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epochs.append(epoch)


def test_the_interface_is_complete_and_imports_keras_only_for_telemetry():
    assert experiments.Telemetry is Telemetry
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        experiments.train  # noqa: B018
    code = "import sys, experiments; experiments.load('alexnet_lr_decay'); "
    code += "assert 'keras' not in sys.modules; assert experiments.Telemetry.__name__; "
    code += "assert 'keras' in sys.modules; [getattr(experiments, n) for n in experiments.__all__]"
    environ = os.environ | {"KERAS_BACKEND": "numpy"}  # the fastest to import
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)


def test_deterministic_sets_seeds_and_comes_before_keras(monkeypatch):
    environment = experiments.deterministic(seed=5)
    first = np.asarray(keras.random.normal((3,)))
    assert environment == determinism.environment()
    experiments.deterministic(seed=5)
    assert (np.asarray(keras.random.normal((3,))) == first).all()
    monkeypatch.setattr(determinism, "_environment", {})
    with pytest.raises(experiments.UserError, match="set it before any import of keras"):
        experiments.deterministic()
    assert determinism.found()["deterministic"] is False


def test_callbacks_see_every_epoch_and_change_no_bit(tmp_path, capsys):
    recorder = EpochRecorder()
    options = {**OPTIONS, "callbacks": [recorder]}
    part = experiments.run("alexnet_lr_decay", **options, logdir=tmp_path / "a", stop_after=1)
    assert (recorder.epochs, part.runs[0].status) == ([0], "partial")
    (run,) = experiments.run("alexnet_lr_decay", **options, logdir=tmp_path / "a").runs
    assert (recorder.epochs, run.status) == ([0, 1, 2], "complete")
    (other,) = experiments.run("alexnet_lr_decay", **OPTIONS, logdir=tmp_path / "b").runs
    assert run.chain == other.chain
    assert not [*(tmp_path / "a").rglob("seed0/events.*")]
    assert capsys.readouterr().out == ""  # pytest has configured logging


def test_bad_arguments_are_user_errors(tmp_path):
    for options, message in [
        ({"scale": "tiny"}, "has no scale 'tiny'; available: full, mini, protocol"),
        ({"arms": ["fixed"]}, "did you mean 'fixed_rate'"),
        ({"stop_after": 0}, "stop_after must be 1 or more"),
        ({"jobs": 2, "callbacks": [EpochRecorder()]}, "callbacks need runs trained one by one"),
    ]:
        with pytest.raises(experiments.UserError, match=message):
            experiments.run("alexnet_lr_decay", **{**OPTIONS, **options}, logdir=tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_remote_directory_is_a_user_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(experiments.UserError, match="gs://bucket/x is not a local directory"):
        experiments.run("alexnet_lr_decay", **OPTIONS, logdir="gs://bucket/x")
    assert not [*tmp_path.iterdir()]


def test_a_script_needs_no_main_guard_for_several_jobs(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import experiments\n"
        f"options = {OPTIONS} | {{'arms': ['fixed_rate', 'decayed_rate'], 'jobs': 2}}\n"
        f"result = experiments.run('alexnet_lr_decay', **options, logdir={str(tmp_path)!r})\n"
        "print('runs:', len(result.runs))\n"
    )
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    completed = subprocess.run(
        [sys.executable, script], env=environ, capture_output=True, text=True, timeout=300
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    assert completed.stdout.splitlines()[-1] == "runs: 2"
    assert completed.stdout.count("runs: ") == 1
