"""The tool that compares processors: what it concludes; and itself, slow, if QEMU is here."""

import json
import shutil

import pytest

from experiments import catalog
from experiments.harness.reporting import tables
from tests import portability
from tests.helpers.portable_runs import ARMS, CONTROL, short_arm

MODELS = ["--models", "Haswell", "EPYC-Rome", "--threads", "1"]


@pytest.fixture
def trained(monkeypatch):
    """The names of the trainings, none of which is real; ``differing`` holds those that differ."""
    calls, differing = [], set()

    def call(_function, arguments, *, launcher, **_options):
        machine = launcher[-1] if launcher else "here"
        calls.append((arguments["name"], arguments["portable"], machine))
        bits = "b" if calls[-1] in differing else "a"
        return {"chain": [bits], "digests": [{"conv1": "same", "conv2": bits}]}

    monkeypatch.setattr(portability.subprocesses, "call", call)
    monkeypatch.setattr(portability.shutil, "which", lambda name: name)
    call.calls, call.differing = calls, differing
    return call


def test_equal_bits_and_a_control_that_differs_are_right(trained, capsys):
    trained.differing.add((CONTROL, False, "Haswell"))
    assert portability.main([*MODELS, "--arms", CONTROL]) == 0
    table = capsys.readouterr().out.splitlines()[-2:]
    assert table[0].split()[2:] == ["same", "same", "same"]
    assert "default" in table[1]
    assert "DIFFERENT: interval 0: conv2" in table[1]


def test_portable_bits_that_differ_are_wrong(trained):
    trained.differing |= {(CONTROL, False, "Haswell"), (CONTROL, True, "0-0")}
    assert portability.main([*MODELS, "--arms", CONTROL]) == 1


@pytest.mark.usefixtures("trained")
def test_a_control_that_differs_nowhere_proves_nothing():
    assert portability.main([*MODELS, "--arms", CONTROL]) == 1


def test_an_interrupted_call_resumes(trained, tmp_path):
    trained.differing.add((CONTROL, False, "Haswell"))
    argv = [*MODELS, "--arms", CONTROL, "--json", str(tmp_path / "result.json")]
    assert portability.main(argv) == 0
    count = len(trained.calls)
    assert portability.main(argv) == 0
    assert len(trained.calls) == count == 7
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["right"]
    assert "EPYC-Rome" in tables.portability(result, "github")


def test_without_qemu_it_says_so_and_compares_threads(trained, monkeypatch, capsys):
    monkeypatch.setattr(portability.shutil, "which", lambda _: None)
    assert portability.main([*MODELS, "--arms", CONTROL]) == 1, "nothing proves the control"
    assert "qemu-x86_64 is not installed" in capsys.readouterr().out
    assert {machine for *_, machine in trained.calls} == {"here", "0-0"}


@pytest.mark.usefixtures("trained")
def test_unknown_models_are_refused(capsys):
    assert portability.main(["--models", "Pentium"]) == 2
    assert "unknown model Pentium" in capsys.readouterr().err


def test_the_arms_have_every_network_and_loss_of_the_documents():
    def parts(arm):
        return arm.network["class_name"], arm.loss["class_name"]

    arms = [short_arm(*name.split(":")) for name in ARMS]
    documented = {
        parts(arm)
        for name in catalog.names()
        for arm in catalog.load(name).at["mini"].values()
        if arm.role == "documented"
    }
    assert documented <= {parts(arm) for arm in arms}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(portability.QEMU), reason="qemu-user is not installed")
def test_a_haswell_under_qemu_gives_the_bits_of_this_machine():
    argv = ["--arms", CONTROL, "--models", "Haswell", "--threads", "1"]
    assert portability.main(argv) == 0
