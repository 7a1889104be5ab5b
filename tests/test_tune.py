"""The door of the search, as a person uses it: tiny trials, really trained."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from matplotlib.image import imread

from experiments import reproduce, tune
from experiments.harness.storage import run_record

ROOT = Path(__file__).parents[1]
SET = ["network.widths=[2,2,8]", "steps=3", "intervals=4", "test_examples=50", "batch_size=8"]
WORDS = ["init_std_sweep", "--data", "digits", "--scale", "mini", "--set", *SET]
RATE = "optimizer.learning_rate"
STD = "network.kernel_initializer.stddev+network.bias_initializer.value"
TRUNCATED = 'network.kernel_initializer=["TruncatedNormal"]'
KINDS = 'network.kernel_initializer=["TruncatedNormal", "HeNormal"]'
FOUR = [TRUNCATED, f"{STD}=log:0.01:0.1:2", f"{RATE}=[1e-3, 1e-2]"]


def words(logdir: Path, *more: str, oracle: str = "grid", space=FOUR) -> list[str]:
    return [*WORDS, "--logdir", str(logdir), "--oracle", oracle, "--space", *space, *more]


def door(*told: str, **environ: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.tune", *told],
        cwd=ROOT,
        env=os.environ | environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def folder(logdir: Path, name: str = "grid") -> Path:
    return logdir / "search" / name / "init_std_sweep" / "mini"


def table(logdir: Path, name: str = "grid") -> list[dict[str, str]]:
    with (folder(logdir, name) / "trials.csv").open(newline="") as file:
        return [*csv.DictReader(file)]


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    logdir = tmp_path_factory.mktemp("grid")
    assert tune.main(words(logdir, "--jobs", "1")) == 0
    return logdir


def test_a_search_leaves_a_table_the_best_arm_and_a_picture(grid, capsys):
    told = table(grid)
    assert [(row["network.kernel_initializer.stddev"], row[RATE]) for row in told] == [
        ("0.01", "0.001"), ("0.01", "0.01"), ("0.1", "0.001"), ("0.1", "0.01"),
    ]  # fmt: skip
    for row in told:
        run = run_record.read(grid / "search" / "grid" / row["runs"])
        assert run.status == "complete"
        assert run.fingerprint == row["fingerprints"]
        assert run.dataset["name"] == "digits:validation"
        assert run.history["test_accuracy"][-1] == pytest.approx(float(row["score"]))
        values = run.arm.network["config"]
        assert values["kernel_initializer"]["config"]["stddev"] == float(
            row["network.kernel_initializer.stddev"]
        )
        assert values["bias_initializer"]["config"]["value"] == float(
            row["network.kernel_initializer.stddev"]
        )
    best = max(told, key=lambda row: float(row["score"]))
    file = folder(grid) / "best.json"
    assert json.loads(file.read_text())[RATE] == float(best[RATE])
    assert imread(folder(grid) / "search.png").std() > 0.05

    asked = [*WORDS[:5], "--arm", "std_0.1", "--set-file", str(file), "--dry-run"]
    assert reproduce.main(asked) == 0
    (arm,) = json.loads(capsys.readouterr().out)["arms"].values()
    assert arm["optimizer"]["config"]["learning_rate"] == float(best[RATE])
    assert (arm["steps"], arm["held_out"]) == (3, 5000)


def test_the_same_again_trains_nothing_and_tells_the_same(grid, capsys):
    before = (folder(grid) / "trials.csv").read_bytes()
    assert tune.main(words(grid, "--jobs", "1", "--json")) == 0
    out, err = capsys.readouterr()
    assert "4 trials are known" in err
    assert [row["trial"] for row in json.loads(out)] == [0, 1, 2, 3]
    assert (folder(grid) / "trials.csv").read_bytes() == before


def test_the_test_split_is_not_seen_and_the_training_is_the_arms_own():
    from experiments.harness.data import sources

    whole, _ = sources.load("mnist", "digits")
    split, _ = sources.load("mnist", "digits:validation")
    kept = whole.held_out_count(5_000)
    assert (split.x_test == whole.x_train[:kept]).all()
    assert (split.x_train == whole.x_train[kept:]).all()
    assert len(split.y_train) == len(whole.y_train) - kept
    assert split.sha256 != whole.sha256


def test_another_search_in_the_folder_is_refused_and_a_damaged_journal_too(grid, tmp_path, capsys):
    assert tune.main(words(grid, "--jobs", "1", "--seed", "1")) == 2
    assert "is another search's" in capsys.readouterr().err
    journal = folder(tmp_path) / "trials.json"
    journal.parent.mkdir(parents=True)
    for text in ("", "[]", '{"search": {}, "trials": {"x": 1}}'):
        journal.write_text(text)
        assert tune.main(words(tmp_path, "--jobs", "1")) == 2
        err = capsys.readouterr().err
        assert "is damaged" in err
        assert err.count("\n") == 1


def test_shards_joined_are_the_whole(grid, tmp_path):
    for shard in ("1/2", "2/2"):
        logdir = tmp_path / shard[0]
        assert tune.main(words(logdir, "--jobs", "1", "--shard", shard)) == 0
        assert len(table(logdir)) == 2
    parts = [str(tmp_path / k) for k in "12"]
    assert tune.main(words(tmp_path / "all", "--merge", *parts)) == 0
    assert table(tmp_path / "all") == table(grid)


def test_a_search_all_of_whose_trials_diverge_says_so(tmp_path, capsys):
    space = [KINDS, f"{STD}=[0.1]", f"{RATE}=[1e4]"]
    bare = ["--set", 'loss={"class_name": "zoo>BareLogCrossentropy", "config": {}}']
    assert tune.main([*words(tmp_path, "--jobs", "1", space=space), *bare]) == 0
    assert "2 of 2 trials diverged (100%): there is no best one" in capsys.readouterr().out
    assert [row["score"] for row in table(tmp_path)] == ["0.0", "0.0"]
    assert all(int(row["diverged_by_step"]) in (3, 6, 9, 12) for row in table(tmp_path))
    stds = {row["network.kernel_initializer"]: row[STD.split("+")[0]] for row in table(tmp_path)}
    assert stds == {"TruncatedNormal": "0.1", "HeNormal": ""}
    assert not (folder(tmp_path) / "best.json").exists()
    assert imread(folder(tmp_path) / "search.png").std() > 0.01


def test_hyperband_goes_on_with_the_runs_that_it_promotes(tmp_path):
    more = ["--jobs", "1", "--executions", "2", "--set", "intervals=3"]
    assert tune.main(words(tmp_path, *more, oracle="hyperband")) == 0
    rows = table(tmp_path, "hyperband")
    promoted = [row for row in rows if row["tuner/trial_id"]]
    assert promoted
    for row in promoted:
        before = rows[int(row["tuner/trial_id"])]
        assert row["runs"] == before["runs"]
        assert row["fingerprints"] != before["fingerprints"]
        assert len(row["runs"].split()) == 2
        for run, fingerprint in zip(row["runs"].split(), row["fingerprints"].split(), strict=True):
            chain = run_record.read(tmp_path / "search" / "hyperband" / run).chain
            assert chain[int(row["tuner/epochs"])] == fingerprint


def six(logdir: Path, *more: str) -> list[str]:
    """Return the words of a search of six trials, each long enough to be killed in."""
    space = [TRUNCATED, f"{STD}=log:0.001:0.1:3", f"{RATE}=[1e-3, 1e-2]"]
    return [*words(logdir, *more, space=space), "--set", "steps=20", "intervals=10"]


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> list[dict[str, str]]:
    logdir = tmp_path_factory.mktemp("serial")
    alone = door(*six(logdir, "--jobs", "1"))
    out, _ = alone.communicate(timeout=300)
    assert alone.returncode == 0, out
    return table(logdir)


def test_one_chief_and_three_workers_one_killed_one_late_make_the_serial_table(tmp_path, serial):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        there = ["--address", f"127.0.0.1:{free.getsockname()[1]}"]

    def worker(k: int) -> subprocess.Popen:
        told = six(tmp_path / f"worker{k}", "--role", "worker", *there, "--limit", "20")
        return door(*told, KERASTUNER_TUNER_ID=f"worker{k}")

    chief = door(*six(tmp_path / "chief", "--role", "chief", *there, "--limit", "3"))
    workers = [worker(0), worker(1)]
    try:
        wait_for(chief, "[1/6]")
        time.sleep(0.2)  # into its next trial
        killed = next(k for k in (0, 1) if [*(tmp_path / f"worker{k}").rglob("run.json")])
        workers[killed].kill()
        workers[1 - killed].send_signal(signal.SIGSTOP)  # else none is left for the late one
        workers.append(worker(2))
        wait_for(workers[2], "accuracy ")
        workers[1 - killed].send_signal(signal.SIGCONT)
        out, _ = chief.communicate(timeout=120)
        assert chief.returncode == 0, out
        assert workers[2].wait(60) == 0
        assert workers[1 - killed].wait(60) in (0, 1)  # taken for dead, it may find no chief
        assert workers[killed].wait(60) == -signal.SIGKILL
    finally:
        for process in (chief, *workers):
            process.kill()
    assert f"worker worker{killed} is silent for 3 s; its trial is given out again" in out
    assert table(tmp_path / "chief") == serial


def wait_for(process: subprocess.Popen, text: str) -> None:
    """Read a process's lines up to one with a text in it."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return
    raise AssertionError("".join(lines))


def test_jobs_are_killed_with_the_search_and_it_goes_on_to_the_serial_table(tmp_path, serial):
    search = door(*six(tmp_path, "--jobs", "2"))
    wait_for(search, "[1/6]")
    jobs = children(search.pid)
    assert len(jobs) >= 2
    search.kill()
    search.wait(60)
    until = time.monotonic() + 60
    while any(alive(pid) for pid in jobs) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in jobs)
    known = json.loads((folder(tmp_path) / "trials.json").read_text())["trials"]
    assert 0 < len(known) < 6
    again = door(*six(tmp_path, "--jobs", "1"))
    out, _ = again.communicate(timeout=300)
    assert again.returncode == 0, out
    assert f"{len(known)} trials are known from before" in out
    assert table(tmp_path) == serial


def children(pid: int) -> list[int]:
    told = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True)
    return [int(number) for number in told.stdout.split()]


def alive(pid: int) -> bool:
    told = subprocess.run(["ps", "-p", str(pid), "-o", "stat="], capture_output=True, text=True)
    return bool(told.stdout.strip()) and not told.stdout.startswith("Z")


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (["--space", "nonsense"], "is not PATH=VALUES"),
        (["--space", f"{RATE}=log:0:1"], "not above 0"),
        (["--space", f"{RATE}=linear:3:2"], "the range is empty"),
        (["--space", f"{RATE}=[1,"], "the list is not JSON"),
        (["--space", "optimizer.rate=log:1:2"], "cannot be built"),
        (["--space", "ratte=[1, 2]"], "no field of an arm is called 'ratte'"),
        (["--space", f'{RATE}=["x"]'], "is of another type"),
        (["--space", f'{RATE}=[1e-3, "x", 1e-2]'], "is of another type"),
        (["--space", 'network.kernel_initializer=["HeNormal"]', f"{STD}=[1]"], "never be active"),
        (["--space", f"{RATE}+steps=[1]", "steps+batch_size=[2]"], "steps is in the space twice"),
        (["--seed", "4294967295"], "seeds that are not below 2**32"),
        (["--shard", "3/2"], "is not I/N"),
        (["--role", "chief", "--address", "127.0.0.1:1"], "--role does not go with --jobs"),
        (["--merge", "nowhere", "--shard", "1/2"], "--merge does not go with --shard"),
        (["--oracle", "bayesian", "--shard", "1/2"], "others choose by what they saw"),
        (["--oracle", "grid", "--trials", "3"], "--trials is for random and bayesian"),
        (["--role", "worker"], "--role and --address go together"),
        (["--role", "chief", "--address", "8.8.8.8:1"], "neither loopback nor private"),
        (["--role", "chief", "--address", "0.0.0.0:1"], "neither loopback nor private"),
        (["--role", "chief", "--address", "here"], "is no address"),
        (["--merge", "nowhere"], "holds no search"),
        (["--arm", "nine"], "has no arm 'nine'"),
    ],
)
def test_bad_words_get_one_line_and_2(told, line, tmp_path, capsys):
    try:
        code = tune.main([*WORDS, "--jobs", "1", "--logdir", str(tmp_path), *told])
    except SystemExit as refused:
        code = refused.code
    assert code == 2
    err = capsys.readouterr().err
    assert line in err
    assert "Traceback" not in err


def test_a_worker_without_a_chief_and_a_chief_without_workers_come_to_an_end(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        there = ["--address", address]
        assert tune.main(words(tmp_path, "--role", "worker", *there, "--limit", "1")) == 1
        assert "no chief answers" in capsys.readouterr().err
        assert tune.main(words(tmp_path, "--role", "chief", *there)) == 2
        assert "cannot listen on" in capsys.readouterr().err
    assert tune.main(words(tmp_path, "--role", "chief", *there, "--patience", "1")) == 1
    assert "no worker was heard for 1 s" in capsys.readouterr().err
