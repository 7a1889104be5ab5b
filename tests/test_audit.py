"""The command. Scripts run in real processes; what needs many of them is slow."""

import json
import os
import re
from pathlib import Path

import pytest

from experiments import audit
from experiments.auditing import auditor
from experiments.auditing.record import Record
from tests.helpers.planted_faults import CLEAN, FAULTS

BACKENDS = ["tensorflow", "jax", "torch"]


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Return a function that writes ``script.py``, in the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")

    def write(source):
        Path("script.py").write_text(source)
        return "script.py"

    return write


def run(capsys, *argv):
    """Run the command; return its exit code, its output and its progress."""
    code = audit.main([*argv])
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["absent.py"], "absent.py is not a file; name a Python script"),
        (["--repeats", "1", "script.py"], "--repeats 1 compares nothing; use 2 or more"),
        (["--fix", "--no-causes", "script.py"], "--fix needs the causes; leave out --no-causes"),
        (["--against", "absent", "script.py"], "absent has no audit; make one with --keep absent"),
        (["--keep", ".", "script.py"], ". is not empty; name another directory"),
        (["script.py"], "script.py trained nothing that is recorded: no fit, train_on_batch or"),
    ],
)
def test_bad_use_is_one_line_and_2(script, capsys, argv, message):
    script("print('no training')")
    code, out, error = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert error.splitlines()[-1].startswith(f"audit: {message}")


def test_a_number_of_runs_is_a_number(capsys):
    with pytest.raises(SystemExit) as refused:
        audit.main(["--repeats", "two", "script.py"])
    assert refused.value.code == 2
    assert "is not a whole number >= 1" in capsys.readouterr().err


def test_the_scripts_own_failure_is_shown_as_its_own(script, capsys):
    path = script("import sys\nprint('begins')\nraise KeyError(sys.argv[1])")
    code, out, error = run(capsys, path, "--epochs", "3")
    assert (code, out) == (1, "")
    lines = error.splitlines()
    assert "KeyError: '--epochs'" in lines[-2]
    assert lines[-1] == (
        "audit: script.py itself failed: KeyError: '--epochs' (run 1; its output is above)"
    )


def events(*kernels, random="r"):
    begin = {"type": "begin", "training": 1, "kind": "fit", "model": "m", "line": "script.py:3"}
    found = [{**begin, "epochs": 2}]
    for epoch, kernel in enumerate(kernels):
        shared = {"training": 1, "epoch": epoch}
        if epoch:
            data = {"count": 2, "checksums": {"x": "aaaaaaaabbbbbbbb"}, "examples": "0"}
            found.append({"type": "batches", **shared, **data})
        state = {"when": "epoch" if epoch else "start", "step": None, "logs": {}}
        found.append(
            {"type": "state", **shared, **state, "tensors": {"kernel": kernel}}
            | {"random": {"python": random}}
        )
    return found


class FakeScript:
    """Replaces ``processes.Script``: each run's record is the next of ``runs``."""

    runs, threads = (), {}

    def __init__(self, path, arguments, scratch, executor):
        self.path, self.arguments, self.scratch = path, arguments, scratch
        self.backend, self.remaining = "", iter(self.runs)

    def run_each(self, folders):
        return ((number, self.run(None, folder)) for number, folder in enumerate(folders, 1))

    def run(self, request, folder=None):
        folder = folder or self.scratch
        folder.mkdir(parents=True, exist_ok=True)
        found = next(self.remaining)
        end = {"notes": [], "environment": {"backend": "jax"}, "seconds": 2.0, "recording": 0.1}
        end |= {"type": "end", "threads": self.threads, "files": {}}
        (folder / "record.jsonl").write_text("\n".join(map(json.dumps, [*found, end])))
        return Record(folder, found, (), end, {})


@pytest.fixture
def fake(script, monkeypatch):
    """Return a function that lets the script's runs record these events."""
    script("")
    monkeypatch.setattr("experiments.auditing.processes.Script", FakeScript)
    return lambda *runs: monkeypatch.setattr(FakeScript, "runs", runs)


def test_equal_runs_are_identical(fake, capsys):
    fake(*[events("a", "b", "c")] * 3)
    code, out, error = run(capsys, "--repeats", "3", "script.py")
    assert code == 0
    assert re.fullmatch(r"identical, 2 epochs\nfingerprint  [0-9a-f]{64}\n", out)
    assert "  run 3: 2.0 s" in error


def test_threads_are_a_note_if_the_runs_are_equal(fake, capsys, monkeypatch):
    fake(*[events("a", "b")] * 2)
    monkeypatch.setattr(FakeScript, "threads", {"script.py:7": 4})
    code, out, _ = run(capsys, "script.py")
    assert code == 0
    assert "threads are started (script.py:7): if they race" in out


def test_generators_that_differ_are_a_note_and_no_difference(fake, capsys):
    fake(events("a", "b"), events("a", "b", random="other"))
    code, out, _ = run(capsys, "script.py")
    assert code == 0
    assert "not compared: the global generators of python, which differ" in out


def test_the_earliest_difference_of_all_runs_is_the_one(fake, capsys, monkeypatch):
    fake(events("a", "b", "c"), events("a", "b", "z"), events("z", "b", "c"))
    monkeypatch.setattr(auditor, "locate", lambda _script, found, _record: auditor.Location(found))
    argv = ("--repeats", "3", "--no-causes", "--json", "script.py", "--lr", "1")
    code, out, _ = run(capsys, *argv)
    payload = json.loads(out)
    assert (code, payload["sound"]) == (1, False)
    assert payload["finding"]["runs"] == ["run 1", "run 3"]
    assert payload["finding"]["kind"] == "weights"
    assert payload["arguments"] == ["--lr", "1"]


def test_a_kept_audit_is_compared_with_a_later_one(fake, capsys):
    fake(*[events("a", "b", "c")] * 2)
    assert run(capsys, "--keep", "first", "script.py")[0] == 0
    assert json.loads(Path("first/audit.json").read_text())["epochs"] == 2
    assert run(capsys, "--repeats", "1", "--against", "first", "script.py")[0] == 0
    fake(*[events("a", "b", "z")] * 2)
    code, out, _ = run(capsys, "--against", "first", "script.py")
    assert code == 1
    assert "runs         the earlier audit and this one" in out
    assert "epoch        2" in out
    assert run(capsys, "--keep", "first", "script.py")[0] == 2
    assert run(capsys, "--keep", "first", "--fresh", "script.py")[0] == 0
    assert run(capsys, "--against", "first", "script.py")[0] == 0


def test_an_audit_that_was_interrupted_is_overwritten_with_fresh(fake, capsys):
    Path("torn/run1").mkdir(parents=True)
    Path("torn/run1/request.json").write_text("{}")
    fake(*[events("a", "b")] * 2)
    code, _, error = run(capsys, "--keep", "torn", "script.py")
    assert code == 2
    assert "torn is not empty; name another directory, or use --fresh" in error
    assert run(capsys, "--keep", "torn", "--fresh", "script.py")[0] == 0


def test_a_script_that_does_not_repeat(script, capsys, monkeypatch):
    """In real processes, on the backend that starts fastest; the cluster's tests audit another."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    fault = FAULTS["unseeded_weights"]
    code, out, _ = run(capsys, "--no-causes", "--json", script(fault.source))
    found = json.loads(out)["finding"]
    assert (code, found["kind"], found["step"]) == (1, "weights", 0)
    assert found["apart"]["share"] == 1
    assert found["cause"] == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(script, capsys, name):
    fault = FAULTS[name]
    code, out, _ = run(capsys, "--json", script(fault.source))
    found = json.loads(out)["finding"]
    assert (code, found["kind"]) == (1, fault.kind)
    assert found["switches"] == [fault.switch] * bool(fault.switch)
    assert fault.says in out.replace("\\", "")


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_clean_script_repeats_on_every_backend(script, capsys, monkeypatch, backend):
    pytest.importorskip(backend)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert run(capsys, script(CLEAN))[0] == 0


@pytest.mark.slow
def test_a_fix_has_what_is_needed_and_no_more(script, capsys):
    source = FAULTS["augmentation_by_random"].source
    words = "words = list({'ant', 'bee', 'cat', 'dog', 'emu', 'fox'})\n"
    later = "model.fit(x * len(words[0]) + ord(words[0][0]), y, verbose=0, shuffle=False)\n"
    code, out, _ = run(capsys, "--fix", script(f"{words}{source}{later}"))
    assert code == 1
    assert re.search(
        r"\nfix +it repeats to its end with (python_seed, hash_seed|hash_seed, python", out
    )
    assert os.environ.get("PYTHONHASHSEED") is None
