"""The door: runs made again by real processes, and the self-test, whose processes are replaced."""

import json
import os
import shutil
from pathlib import Path

import pytest

from experiments import verify
from experiments.harness.runtime import subprocesses
from experiments.harness.spec import ProcessError, UserError
from experiments.harness.storage import checkpoint, run_record
from experiments.verification import golden, self_test, self_test_runs
from tests.helpers import corrupted_runs
from tests.helpers.environment import ENVIRONMENT


class Processes:
    """Stand in for ``elsewhere.call``: training ``number`` ends in ``fingerprints[number]``."""

    def __init__(self, fingerprints: str, device: str = "cpu") -> None:
        self.fingerprints, self.device = iter(fingerprints), device
        self.calls = []

    def __call__(self, function, arguments, *, backend, start):
        assert function == self_test.SHORT_RUNS
        self.calls.append((backend, arguments, start))
        ended = [d for d, n in arguments["directories"].items() if n is None]
        hidden = start["settings"] == self_test.HIDDEN[backend]
        return {
            "environment": {
                "backend": backend,
                "device": "cpu" if hidden else self.device,
                "versions": {backend: "1.2"},
            },
            "fingerprints": {"run": [next(self.fingerprints) for _ in ended]},
            "seconds": {"run": [0.02, 0.04]} if arguments["timing"] else {},
        }


@pytest.fixture
def kept(tmp_path, monkeypatch):
    path = tmp_path / "golden.json"
    path.write_text("{}")
    monkeypatch.setattr(golden, "PATH", path)
    return path


def run_self_test(monkeypatch, processes, *words: str) -> int:
    monkeypatch.setattr(subprocesses, "call", processes)
    return verify.main(["--self-test", "--backend", "jax", *words])


def test_equal_bits_in_every_process_keep_the_promise(monkeypatch, capsys, kept):
    processes = Processes("aaa")
    assert run_self_test(monkeypatch, processes, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["verdict"] == "KEPT"
    assert row["repeated"] == 3
    assert row["fingerprints"] == ["a"]
    assert row["repository"] == "unknown"
    assert (row["milliseconds"], row["without"], row["timings"]) == (30, 30, [2, 2])
    first, without, _, last = (arguments["directories"] for _, arguments, _ in processes.calls)
    assert without == {}
    (path,) = last
    assert (first[path], last[path]) == (1, None)
    assert json.loads(kept.read_text()) == {}


def test_one_other_bit_breaks_the_promise_and_is_not_blessed(monkeypatch, capsys, kept):
    assert run_self_test(monkeypatch, Processes("aab"), "--bless") == 1
    assert "BROKEN" in capsys.readouterr().out
    assert json.loads(kept.read_text()) == {}


@pytest.mark.usefixtures("kept")
def test_blessed_bits_are_compared_from_then_on(monkeypatch, capsys):
    assert run_self_test(monkeypatch, Processes("aaa"), "--bless") == 0
    assert run_self_test(monkeypatch, Processes("aaa")) == 0
    assert "same" in capsys.readouterr().out
    assert run_self_test(monkeypatch, Processes("bbb")) == 1
    assert "OTHER" in capsys.readouterr().out
    assert run_self_test(monkeypatch, Processes("bbb"), "--bless") == 0
    assert run_self_test(monkeypatch, Processes("bbb")) == 0


@pytest.mark.usefixtures("kept")
def test_where_there_is_an_accelerator_the_cpu_is_tested_too(monkeypatch, capsys):
    assert run_self_test(monkeypatch, Processes("aabb", "H200"), "--json", "--times", "2") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["environment"]["device"] for row in rows] == ["H200", "cpu"]


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("error", [UserError, ProcessError])
def test_a_backend_that_fails_is_told_and_the_next_one_tested(monkeypatch, capsys, error):
    processes = Processes("aaa")

    def call(*words, backend, **options):
        if backend == "torch":
            raise error("it refused")
        return processes(*words, backend=backend, **options)

    monkeypatch.setattr(subprocesses, "call", call)
    assert verify.main(["--self-test", "--backend", "torch", "jax"]) == 1
    told = capsys.readouterr().out
    assert "torch FAILED: it refused" in told
    assert "KEPT" in told


def test_bad_use_is_one_line_and_2(capsys):
    assert verify.main(["--self-test", "--backend", "jaxx"]) == 2
    assert capsys.readouterr().err == "verify: no backend is called 'jaxx'; did you mean 'jax'?\n"
    with pytest.raises(SystemExit) as refused:
        verify.main(["--self-test", "--times", "1"])
    assert refused.value.code == 2


def test_a_process_makes_every_short_run_in_every_directory_and_goes_on_with_it(tmp_path):
    first = self_test_runs.train_short_runs({str(tmp_path): 1}, timing=False)
    assert first["fingerprints"] == {name: [] for name in self_test_runs.RUNS}
    then = self_test_runs.train_short_runs({str(tmp_path): None}, timing=True)
    assert then["environment"] == ENVIRONMENT
    assert set(then["seconds"]) == set(self_test_runs.RUNS)
    for name in self_test_runs.RUNS:
        assert len(then["fingerprints"][name]) == 1
        assert len(then["seconds"][name]) == self_test_runs.REPEATED
        assert min(then["seconds"][name]) > 0


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return Path(corrupted_runs.made(str(tmp_path_factory.mktemp("sound")), ENVIRONMENT, None))


def changed(sound, tmp_path, **changes) -> Path:
    """Return a copy of the run whose record says something else."""
    shutil.copytree(sound, tmp_path / "changed")
    path = tmp_path / "changed/run.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {name: change(told) for name, change in changes.items()}))
    return path.parent


def flip(told) -> list[str]:
    """Return the chain with one bit of its third link changed."""
    return [f"{int(link, 16) ^ (k == 2):064x}" for k, link in enumerate(told["chain"])]


def test_a_run_that_comes_out_again_is_identical(sound, capsys):
    assert verify.main([str(sound)]) == 0
    told = capsys.readouterr().out
    assert "identical, 4 intervals" in told
    assert run_record.read(sound).fingerprint in told


def test_a_changed_bit_of_a_link_is_found_by_making_the_run_again(sound, tmp_path, capsys):
    assert verify.main([str(changed(sound, tmp_path, chain=flip)), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["finding"]
    assert found["interval"] == 2
    assert found["cause"].startswith("the record: the link itself was changed")
    assert len({*found["links"]}) == 2


def test_two_runs_that_exist_are_compared_without_training(sound, tmp_path, capsys):
    other = changed(sound, tmp_path, chain=flip)
    assert verify.main([str(sound), "--against", str(sound)]) == 0
    assert verify.main([str(sound), "--against", str(other)]) == 1
    told = capsys.readouterr().out
    assert "DIFFERENT\ninterval     2 (steps 4 to 6)" in told
    for path in (sound, other):
        assert run_record.load(path).chain[2] in told  # only their last digits differ


@pytest.mark.parametrize("name", ["history.csv", "digests.csv"])
def test_a_table_that_the_links_contradict_is_told(sound, tmp_path, capsys, name):
    path = changed(sound, tmp_path) / name
    lines = path.read_text().splitlines()
    lines[3] = lines[3][:-1] + "3210"[int(lines[3][-1], 16) % 4]  # of interval 2, or 3
    path.write_text("\n".join(lines) + "\n")
    assert verify.main([str(path.parent)]) == 1
    told = capsys.readouterr().out
    assert f"interval     {3 if name == 'history.csv' else 2} " in told
    assert f"likely cause the record: {name} was changed" in told


def test_measures_before_training_that_the_links_contradict_are_told(sound, tmp_path, capsys):
    one = changed(sound, tmp_path / "a", initial=lambda _: {"test_loss": 2.0})
    other = changed(sound, tmp_path / "b", initial=lambda _: {"test_loss": 3.0})
    assert verify.main([str(one), "--against", str(other)]) == 1
    told = capsys.readouterr().out
    assert "interval     0 (before the first step)" in told
    assert "run.json was changed (test_loss)" in told
    assert "links" not in told.replace("all links are the same", "")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("seed", lambda _: -1, "seed is no whole number"),
        ("seed", lambda _: "0", "seed is no whole number"),
        ("chain", lambda _: "abc", "chain is not a list"),
        ("intervals_done", lambda _: 10**9, "intervals_done is not the chain's length"),
        ("status", lambda _: [], "status is unknown"),
        ("initial", lambda _: 4, "initial is no table"),
        ("changes", lambda _: 7, "changes is no table"),
        ("arm", lambda told: told["arm"] | {"steps": float("inf")}, "steps is no whole number"),
        ("arm", lambda told: told["arm"] | {"schedule": [[1, "x"]]}, "schedule is no list"),
        ("environment", lambda told: told["environment"] | {"backend": "../evil"}, "backend"),
        ("environment", lambda told: told["environment"] | {"threads": "2"}, "threads"),
        ("environment", lambda told: told["environment"] | {"settings": {"A": "\0"}}, "settings"),
    ],
)
def test_records_of_no_run_are_one_line_and_2(sound, tmp_path, capsys, name, change, said):
    other = str(changed(sound, tmp_path, **{name: change}))
    for words in ([other], [str(sound), "--against", other]):
        assert verify.main(words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_what_is_no_file_is_not_waited_for(sound, tmp_path, capsys):
    path = changed(sound, tmp_path) / "history.csv"
    path.unlink()
    os.mkfifo(path)
    assert verify.main([str(path.parent)]) == 2
    assert "history.csv is no file" in capsys.readouterr().err


def test_environments_come_before_bits_and_leave_statistics_only(sound, tmp_path, capsys):
    def older(told):
        return told["environment"] | {"python": "3.0"}

    other = changed(sound, tmp_path, chain=flip, environment=older)
    assert verify.main([str(sound), "--against", str(other)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("the environments differ, so bits need not be the same:\n  python: ")
    assert "statistics only, over 4 intervals" in told
    assert "test_accuracy" in told
    assert "DIFFERENT" not in told


def test_another_environment_than_this_is_told_before_the_run_is_made(sound, tmp_path, capsys):
    other = changed(sound, tmp_path, environment=lambda told: told["environment"] | {"cpu": "6502"})
    assert verify.main([str(other), "--json"]) == 0
    heard = capsys.readouterr()
    assert json.loads(heard.out)["sound"] is None
    assert 'the environment cannot be had here:\n  cpu: "6502" in the one' in heard.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{tmp}"], "holds no run"),
        (["{run}", "--data", "no/such.npz"], "no file no/such.npz"),
        (["{run}", "--against", "{tmp}"], "holds no run"),
        (["{run}", "--against", "{other}"], "two different runs: seed is 0 and 1"),
    ],
)
def test_runs_that_cannot_be_compared_are_one_line_and_2(sound, tmp_path, capsys, words, told):
    other = changed(sound, tmp_path, seed=lambda _: 1)
    places = {"tmp": tmp_path, "run": sound, "other": other}
    assert verify.main([word.format(**places) for word in words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name a run's directory, or --self-test"),
        (["somewhere", "--self-test"], "name a run's directory, or --self-test"),
        (["somewhere", "--bless"], "--bless is for --self-test"),
        (["somewhere", "--times", "9"], "--times is for --self-test"),
        (["--self-test", "--against", "there"], "--against is for RUN_DIR"),
        (["somewhere", "--against", "there", "--data", "digits"], "--data is for RUN_DIR alone"),
    ],
)
def test_words_that_do_not_go_together_are_one_line_and_2(words, told, capsys):
    assert verify.main(words) == 2
    assert capsys.readouterr().err == f"verify: {told}\n"


def test_a_process_that_fails_is_one_line_and_1(sound, monkeypatch, capsys):
    def fails(*_, **__):
        raise ProcessError("retrace failed with exit code -9: no error output")

    monkeypatch.setattr(subprocesses, "call", fails)
    assert verify.main([str(sound)]) == 1
    assert capsys.readouterr().err.startswith("verify: retrace failed with exit code -9")


def test_a_damaged_state_is_passed_over(sound, tmp_path, capsys):
    other = changed(sound, tmp_path, chain=flip)
    newest = checkpoint.path(other / "state", 4)
    newest.write_bytes(newest.read_bytes()[:-1])
    assert verify.main([str(sound), "--against", str(other)]) == 1
    assert "DIFFERENT\ninterval     2" in capsys.readouterr().out


def test_runs_from_before_the_digests_are_compared_by_their_links(sound, tmp_path, capsys):
    other = changed(sound, tmp_path, chain=flip)
    (other / "digests.csv").unlink()
    assert verify.main([str(sound), "--against", str(other), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["finding"]
    assert (found["interval"], found["step"], found["tensors"], found["cause"]) == (2, None, [], "")
