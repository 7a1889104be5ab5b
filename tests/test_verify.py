"""The command: runs retrained, one in real processes, and the self-test with fake ones."""

import json
import os
import shutil
from pathlib import Path

import pytest

from experiments import verify
from experiments.harness.execution.local import Fresh
from experiments.harness.execution.task import PERFORM
from experiments.harness.runtime import subprocesses
from experiments.harness.spec import ProcessError, UserError
from experiments.harness.storage import checkpoint, run_record
from experiments.verification import golden, self_test
from tests.helpers import corrupted_runs
from tests.helpers.environment import ENVIRONMENT
from tests.helpers.shared_processes import call_here


class FakeProcesses:
    """Replaces ``subprocesses.call``: the nth training ends in the nth of ``fingerprints``.

    ``wrong`` values of the known answers are wrong.
    """

    def __init__(self, fingerprints: str, device: str = "cpu", wrong: int = 0) -> None:
        self.fingerprints, self.device, self.wrong = iter(fingerprints), device, wrong
        self.calls = []

    def __call__(self, function, arguments, *, backend, start, **_):
        assert function == PERFORM
        return {"value": self.call(arguments["function"], arguments["arguments"], backend, start)}

    def call(self, function, arguments, backend, start):
        cpu_only = start["settings"] == self_test.CPU_ONLY[backend]
        environment = {
            "backend": backend,
            "device": "cpu" if cpu_only else self.device,
            "versions": {backend: "1.2"},
        }
        if function == self_test.KNOWN_ANSWERS:
            found = {"operation": "pool", "result": "output", "index": [1, 0], "ulp": 16384.0}
            found |= {"bound": 7.5, "wrong": self.wrong, "elements": 12}
            return {"environment": environment, "operations": [found]}
        assert function == self_test.SHORT_RUNS
        self.calls.append((backend, arguments, start))
        complete = [d for d, n in arguments["directories"].items() if n is None]
        return {
            "environment": environment,
            "fingerprints": {"run": [next(self.fingerprints) for _ in complete]},
            "seconds": {"run": [0.02, 0.04]} if arguments["timing"] else {},
        }


@pytest.fixture
def golden_file(tmp_path, monkeypatch):
    path = tmp_path / "golden.json"
    path.write_text("{}")
    monkeypatch.setattr(golden, "PATH", path)
    return path


def run_self_test(monkeypatch, processes, *argv: str) -> int:
    monkeypatch.setattr(subprocesses, "call", processes)
    return verify.main(["--self-test", "--backend", "jax", *argv])


def test_equal_bits_in_every_process_pass(monkeypatch, capsys, golden_file):
    processes = FakeProcesses("aaa")
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
    assert json.loads(golden_file.read_text()) == {}


def test_different_bits_fail_and_do_not_become_golden(monkeypatch, capsys, golden_file):
    assert run_self_test(monkeypatch, FakeProcesses("aab"), "--update-golden") == 1
    assert "BROKEN" in capsys.readouterr().out
    assert json.loads(golden_file.read_text()) == {}


@pytest.mark.usefixtures("golden_file")
def test_golden_bits_are_compared_from_then_on(monkeypatch, capsys):
    assert run_self_test(monkeypatch, FakeProcesses("aaa"), "--update-golden") == 0
    assert run_self_test(monkeypatch, FakeProcesses("aaa")) == 0
    assert "same" in capsys.readouterr().out
    assert run_self_test(monkeypatch, FakeProcesses("bbb")) == 1
    assert "OTHER" in capsys.readouterr().out
    assert run_self_test(monkeypatch, FakeProcesses("bbb"), "--bless") == 0  # old name
    assert run_self_test(monkeypatch, FakeProcesses("bbb")) == 0


@pytest.mark.usefixtures("golden_file")
def test_beside_an_accelerator_the_cpu_is_tested_too(monkeypatch, capsys):
    assert (
        run_self_test(monkeypatch, FakeProcesses("aabb", "H200"), "--json", "--repeats", "2") == 0
    )
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["environment"]["device"] for row in rows] == ["H200", "cpu"]


@pytest.mark.usefixtures("golden_file")
def test_right_known_answers_are_a_line_for_each_device_and_a_key(monkeypatch, capsys):
    assert run_self_test(monkeypatch, FakeProcesses("aaaaaa", "H200")) == 0
    out = capsys.readouterr().out
    assert "jax 1.2 on H200: 1 operations, all within their bounds of the exact results\n" in out
    assert "jax 1.2 on cpu: 1 operations, all within their bounds of the exact results\n" in out
    assert run_self_test(monkeypatch, FakeProcesses("aaa"), "--json") == 0
    (answers,) = json.loads(capsys.readouterr().out)["known_answers"]
    assert answers["operations"][0]["operation"] == "pool"


def test_a_wrong_known_answer_is_a_line_fails_and_does_not_become_golden(
    monkeypatch, capsys, golden_file
):
    processes = FakeProcesses("aaa", wrong=3)
    assert run_self_test(monkeypatch, processes, "--update-golden") == 1
    line = "jax 1.2 on cpu: WRONG: pool: output[1, 0] is off by 1.64e+04 ULP, bound 7.5 "
    assert f"{line}(3 of 12 values are wrong)\n" in capsys.readouterr().out
    assert json.loads(golden_file.read_text()) == {}


@pytest.mark.usefixtures("golden_file")
def test_a_machine_is_asked_for_the_published_portable_bits(monkeypatch, capsys):
    processes = FakeProcesses("aaa")
    assert run_self_test(monkeypatch, processes, "--portable") == 1, "nothing is published"
    assert "no bits are published for portable-1 with jax 1.2" in capsys.readouterr().out
    starts = [start for *_, start in processes.calls if start["deterministic"]]
    assert all(start["portable"] for start in starts)
    assert run_self_test(monkeypatch, FakeProcesses("aaa"), "--portable", "--update-golden") == 0
    capsys.readouterr()
    assert run_self_test(monkeypatch, FakeProcesses("aaa"), "--portable") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "this machine gives the published bits of portable-1"
    assert run_self_test(monkeypatch, FakeProcesses("bbb"), "--portable") == 1
    assert "gives OTHER bits than those published" in capsys.readouterr().out
    assert run_self_test(monkeypatch, FakeProcesses("aab"), "--portable") == 1


@pytest.mark.usefixtures("golden_file")
def test_processes_of_a_self_test_are_tasks_of_one_environment(monkeypatch):
    """On a cluster they are on several nodes, each with the files that it needs."""
    processes, tasks = FakeProcesses("aaa"), []

    class Recorder(Fresh):
        def run(self, given):
            tasks.extend(given)
            return super().run(tasks[-1:])

    monkeypatch.setattr(subprocesses, "call", processes)
    self_test.run_backend("jax", 3, executor=Recorder())
    first, without, *others = tasks
    assert (first.environment, without.environment) == (None, None)
    assert [each.environment["versions"] for each in others] == [{"jax": "1.2"}] * 2
    names = [[path.name for path in each.directories] for each in tasks]
    assert names == [["0", "resumed"], [], ["1"], ["resumed"]]


@pytest.mark.usefixtures("golden_file")
@pytest.mark.parametrize("error", [UserError, ProcessError])
def test_a_backend_that_fails_is_reported_and_the_next_one_tested(monkeypatch, capsys, error):
    processes = FakeProcesses("aaa")

    def call(function, arguments, *, backend, start, **_):
        if backend == "torch":
            raise error("it refused")
        return processes(function, arguments, backend=backend, start=start)

    monkeypatch.setattr(subprocesses, "call", call)
    assert verify.main(["--self-test", "--backend", "torch", "jax"]) == 1
    out = capsys.readouterr().out
    assert "torch FAILED: it refused" in out
    assert "KEPT" in out


def test_bad_use_of_the_self_test_is_one_line_and_2(capsys):
    assert verify.main(["--self-test", "--backend", "jaxx"]) == 2
    assert capsys.readouterr().err == "verify: unknown backend 'jaxx'; did you mean 'jax'?\n"
    with pytest.raises(SystemExit) as refused:
        verify.main(["--self-test", "--repeats", "1"])
    assert refused.value.code == 2


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return Path(corrupted_runs.train(str(tmp_path_factory.mktemp("sound")), ENVIRONMENT, None))


def edited(sound, tmp_path, **edits) -> Path:
    """Return a copy of the run, with fields of its record edited."""
    shutil.copytree(sound, tmp_path / "edited")
    path = tmp_path / "edited/run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {name: edit(record) for name, edit in edits.items()}))
    return path.parent


def flip(record) -> list[str]:
    """Return the chain with one bit of its third link flipped."""
    return [f"{int(link, 16) ^ (k == 2):064x}" for k, link in enumerate(record["chain"])]


@pytest.fixture
def in_this_process(monkeypatch):
    """Retrain here: a fresh process costs more than a tiny run."""
    monkeypatch.setattr(subprocesses, "call", call_here)


def test_a_run_that_repeats_is_identical(sound, capsys):
    assert verify.main([str(sound)]) == 0
    out = capsys.readouterr().out
    assert "identical, 4 intervals" in out
    assert run_record.read(sound).fingerprint in out


@pytest.mark.usefixtures("in_this_process")
def test_a_flipped_bit_of_a_link_is_found_by_retraining(sound, tmp_path, capsys):
    assert verify.main([str(edited(sound, tmp_path, chain=flip)), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["finding"]
    assert found["interval"] == 2
    assert found["cause"].startswith("the record: the link was edited")
    assert len({*found["links"]}) == 2


def test_two_recorded_runs_are_compared_without_training(sound, tmp_path, capsys):
    other = edited(sound, tmp_path, chain=flip)
    assert verify.main([str(sound), "--against", str(sound)]) == 0
    assert verify.main([str(sound), "--against", str(other)]) == 1
    out = capsys.readouterr().out
    assert "DIFFERENT\ninterval     2 (steps 4 to 6)" in out
    for path in (sound, other):
        assert run_record.read(path).chain[2] in out  # only their last digits differ


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("name", ["history.csv", "digests.csv"])
def test_an_edited_table_is_named(sound, tmp_path, capsys, name):
    path = edited(sound, tmp_path) / name
    lines = path.read_text().splitlines()
    lines[3] = lines[3][:-1] + "3210"[int(lines[3][-1], 16) % 4]  # of interval 2, or 3
    path.write_text("\n".join(lines) + "\n")
    assert verify.main([str(path.parent)]) == 1
    out = capsys.readouterr().out
    assert f"interval     {3 if name == 'history.csv' else 2} " in out
    assert f"likely cause the record: {name} was edited" in out


def test_edited_initial_metrics_are_named(sound, tmp_path, capsys):
    one = edited(sound, tmp_path / "a", initial=lambda _: {"test_loss": 2.0})
    other = edited(sound, tmp_path / "b", initial=lambda _: {"test_loss": 3.0})
    assert verify.main([str(one), "--against", str(other)]) == 1
    out = capsys.readouterr().out
    assert "interval     0 (before the first step)" in out
    assert "run.json was edited (test_loss)" in out
    assert "links" not in out.replace("all links are equal", "")


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("seed", lambda _: -1, "seed is not a whole number"),
        ("seed", lambda _: "0", "seed is not a whole number"),
        ("chain", lambda _: "abc", "chain is not a list"),
        ("seconds", lambda _: "1", "seconds is not a time"),
        ("cpu_seconds", lambda _: [2], "cpu_seconds is not a time"),
        ("intervals_done", lambda _: 10**9, "intervals_done is not the chain's length"),
        ("status", lambda _: [], "status is unknown"),
        ("initial", lambda _: 4, "initial is not a table"),
        ("changes", lambda _: 7, "changes is not a table"),
        (
            "arm",
            lambda record: record["arm"] | {"steps": float("inf")},
            "steps is not a whole number",
        ),
        ("arm", lambda record: record["arm"] | {"schedule": [[1, "x"]]}, "schedule is not a list"),
        ("environment", lambda record: record["environment"] | {"backend": "../evil"}, "backend"),
        ("environment", lambda record: record["environment"] | {"threads": "2"}, "threads"),
        (
            "environment",
            lambda record: record["environment"] | {"settings": {"A": "\0"}},
            "settings",
        ),
    ],
)
def test_invalid_records_are_one_line_and_2(sound, tmp_path, capsys, name, edit, message):
    other = str(edited(sound, tmp_path, **{name: edit}))
    for argv in ([other], [str(sound), "--against", other]):
        assert verify.main(argv) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_named_pipe_is_refused_and_not_waited_for(sound, tmp_path, capsys):
    path = edited(sound, tmp_path) / "history.csv"
    path.unlink()
    os.mkfifo(path)
    assert verify.main([str(path.parent)]) == 2
    assert "history.csv is not a file" in capsys.readouterr().err


def test_runs_of_different_environments_are_compared_by_statistics_only(sound, tmp_path, capsys):
    def older(record):
        return record["environment"] | {"python": "3.0"}

    other = edited(sound, tmp_path, chain=flip, environment=older)
    assert verify.main([str(sound), "--against", str(other)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("the environments differ, so the bits may differ:\n  python: ")
    assert "statistics only, over 4 intervals" in out
    assert "test_accuracy" in out
    assert "DIFFERENT" not in out


@pytest.mark.usefixtures("in_this_process")
def test_an_environment_that_is_not_available_is_shown_before_training(sound, tmp_path, capsys):
    other = edited(
        sound, tmp_path, environment=lambda record: record["environment"] | {"cpu": "6502"}
    )
    assert verify.main([str(other), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["sound"] is None
    message = 'the recorded environment is not available here:\n  cpu: "6502" in the first run'
    assert message in captured.err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["{tmp}"], "holds no run"),
        (["{run}", "--data", "no/such.npz"], "no file no/such.npz"),
        (["{run}", "--against", "{tmp}"], "holds no run"),
        (["{run}", "--against", "{other}"], "two different runs: seed is 0 and 1"),
    ],
)
def test_runs_that_cannot_be_compared_are_one_line_and_2(sound, tmp_path, capsys, argv, message):
    other = edited(sound, tmp_path, seed=lambda _: 1)
    places = {"tmp": tmp_path, "run": sound, "other": other}
    assert verify.main([word.format(**places) for word in argv]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "name a run's directory, or use --self-test"),
        (["somewhere", "--self-test"], "name a run's directory, or use --self-test"),
        (["somewhere", "--update-golden"], "--update-golden applies only to --self-test"),
        (["somewhere", "--repeats", "9"], "--repeats applies only to --self-test"),
        (["--self-test", "--against", "there"], "--against applies only to RUN_DIR"),
        (
            ["somewhere", "--against", "there", "--cluster", "auto"],
            "--cluster applies only to RUN_DIR without --against, or --self-test",
        ),
        (
            ["somewhere", "--against", "there", "--data", "digits"],
            "--data applies only to RUN_DIR without --against",
        ),
    ],
)
def test_arguments_that_do_not_go_together_are_one_line_and_2(argv, message, capsys):
    assert verify.main(argv) == 2
    assert capsys.readouterr().err == f"verify: {message}\n"


def test_a_process_that_fails_is_one_line_and_1(sound, monkeypatch, capsys):
    def fail(*_, **__):
        raise ProcessError("rerun failed with exit code -9: no error output")

    monkeypatch.setattr(subprocesses, "call", fail)
    assert verify.main([str(sound)]) == 1
    assert capsys.readouterr().err.startswith("verify: rerun failed with exit code -9")


def test_a_damaged_checkpoint_is_skipped(sound, tmp_path, capsys):
    other = edited(sound, tmp_path, chain=flip)
    newest = checkpoint.path(other / "state", 4)
    newest.write_bytes(newest.read_bytes()[:-1])
    assert verify.main([str(sound), "--against", str(other)]) == 1
    assert "DIFFERENT\ninterval     2" in capsys.readouterr().out


def test_older_runs_without_digests_are_compared_by_their_links(sound, tmp_path, capsys):
    other = edited(sound, tmp_path, chain=flip)
    (other / "digests.csv").unlink()
    assert verify.main([str(sound), "--against", str(other), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["finding"]
    assert (found["interval"], found["step"], found["tensors"], found["cause"]) == (2, None, [], "")
