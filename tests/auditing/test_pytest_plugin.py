"""The fixture ``same_bits``: in real processes once, else with records made by hand."""

import json
import tomllib
from pathlib import Path

import pytest

from experiments.auditing import processes, pytest_plugin
from experiments.auditing.pytest_plugin import SameBits
from experiments.auditing.record import Record
from tests.test_audit import events

pytest_plugins = "pytester"
PLUGIN = "experiments.auditing.pytest_plugin"
TRAINING = """
import numpy as np

def train():
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((8, 3)), np.ones(8), batch_size=4, epochs=2, verbose=0)
"""


def train():
    """Stands for a training whose records are made by hand."""


class FakeScript:
    """Replaces ``processes.Script``: each run's record is the next one."""

    def __init__(self, scratch, runs, backend, code):
        self.path, self.arguments, self.scratch = scratch / "test_it.py", [], scratch
        self.path.write_text("")
        self.backend, self.remaining = "", iter(runs)
        self.end = {"notes": [], "environment": {"backend": backend}, "seconds": 1.0}
        self.end |= {"recording": 0.1, "threads": {}, "files": {}}
        self.end |= {"code": {"somewhere/test_it.py": code}}

    def run(self, request):
        return Record(self.scratch, next(self.remaining), (), self.end, {})

    def run_each(self, folders):
        return ((number, self.run(None)) for number in range(1, len(folders) + 1))


@pytest.fixture
def fake(monkeypatch):
    """Return a function that lets trainings record these events, of this code, on this backend."""

    def prepare(*runs, backend="jax", code="a"):
        def script(_, scratch):
            return FakeScript(scratch, runs, backend, code)

        monkeypatch.setattr(processes, "function_script", script)

    return prepare


@pytest.mark.slow
def test_a_training_repeats_in_real_processes(pytester, pytestconfig, monkeypatch):
    """Two tests of a user's file: one training repeats, a function that is local is refused."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    pytester.makepyfile(
        TRAINING
        + """
def test_repeats(same_bits):
    same_bits(train, repeats=2)

def test_local(same_bits):
    same_bits(lambda: None)
"""
    )
    is_installed = pytestconfig.pluginmanager.hasplugin("rerun_zoo")
    result = pytester.runpytest_inprocess(*([] if is_installed else ["-p", PLUGIN]))
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["same_bits takes a function that a module defines, not *lambda*"])


def test_a_difference_fails_with_what_audit_says(fake, tmp_path):
    metrics = [{**event} for event in events("a", "b", "c")]
    metrics[-1] = {**metrics[-1], "logs": {"loss": "0x1p-1"}}
    fake(events("a", "b", "c"), metrics)
    with pytest.raises(pytest.fail.Exception) as failed:
        SameBits(tmp_path / "golden.json")(train, find_cause=False)
    lines = str(failed.value).splitlines()
    assert lines[0] == "DIFFERENT"
    assert lines[1].split(maxsplit=1) == ["differs", "only the metrics: loss None and 0x1p-1"]
    assert "epoch        2" in lines


def test_a_golden_is_saved_compared_and_kept_by_environment(fake, tmp_path):
    path = tmp_path / "test_it.golden.json"
    fake(events("a", "b", "c"))
    with pytest.raises(pytest.fail.Exception, match=r"no golden 'mine' in .*--update-golden saves"):
        SameBits(path).golden("mine", train)
    SameBits(path, update=True).golden("mine", train)
    SameBits(path).golden("mine", train)
    moved = events("a", "b", "c")
    moved[0]["line"] = "test_it.py:99"
    fake(moved)
    SameBits(path).golden("mine", train)

    fake(events("a", "b", "z"), code="b")
    with pytest.raises(pytest.fail.Exception) as failed:
        SameBits(path).golden("mine", train)
    text = str(failed.value)
    assert "runs         the golden and this run" in text
    assert "tensors      kernel" in text
    assert "likely cause the code of test_it.py differs" in text.replace("cause  ", "cause ")

    fake(events("a", "b", "z"), backend="torch")
    with pytest.raises(pytest.skip.Exception, match=r'backend \("jax" there, "torch" here\)'):
        SameBits(path).golden("mine", train)
    SameBits(path, update=True).golden("mine", train)
    assert len(json.loads(path.read_text())) == 2
    path.write_text("{")
    with pytest.raises(pytest.fail.Exception, match="is not valid JSON"):
        SameBits(path).golden("mine", train)


def test_the_plugin_is_an_entry_point():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"rerun_zoo": pytest_plugin.__name__}
