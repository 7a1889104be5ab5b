"""The tune command as a user runs it: tiny trials that are really trained."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from matplotlib.image import imread

from experiments import reproduce, tune
from experiments.harness.storage import run_record
from experiments.tuning.objectives import NEED_TRIAL_COUNT, ORACLES

ROOT = Path(__file__).parents[1]
SET = ["network.widths=[2,2,8]", "steps=3", "intervals=4", "test_examples=50", "batch_size=8"]
ARGV = ["init_std_sweep", "--data", "digits", "--scale", "mini"]
ARGV += ["--telemetry-every", "0", "--set", *SET]
RATE = "optimizer.learning_rate"
STD = "network.kernel_initializer.stddev+network.bias_initializer.value"
TRUNCATED = 'network.kernel_initializer=["TruncatedNormal"]'
KINDS = 'network.kernel_initializer=["TruncatedNormal", "HeNormal"]'
FOUR_TRIALS = [TRUNCATED, f"{STD}=log:0.01:0.1:2", f"{RATE}=[1e-3, 1e-2]"]
SIX_TRIALS = [TRUNCATED, f"{STD}=log:0.001:0.1:3", f"{RATE}=[1e-3, 1e-2]"]


def tune_argv(logdir: Path, *flags: str, oracle: str = "grid", space=FOUR_TRIALS) -> list[str]:
    return [*ARGV, "--logdir", str(logdir), "--oracle", oracle, "--space", *space, *flags]


def start_tune(*argv: str, **environ: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.tune", *argv],
        cwd=ROOT,
        env=os.environ | environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def search_directory(logdir: Path, name: str = "grid") -> Path:
    return logdir / "search" / name / "init_std_sweep" / "mini"


def read_table(logdir: Path, name: str = "grid") -> list[dict[str, str]]:
    with (search_directory(logdir, name) / "trials.csv").open(newline="") as file:
        return [*csv.DictReader(file)]


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    logdir = tmp_path_factory.mktemp("a grid")
    assert tune.main(tune_argv(logdir, "--jobs", "1")) == 0
    return logdir


def test_a_search_writes_a_table_the_best_arm_and_a_picture(grid, capsys):
    rows = read_table(grid)
    assert [(row["network.kernel_initializer.stddev"], row[RATE]) for row in rows] == [
        ("0.01", "0.001"), ("0.01", "0.01"), ("0.1", "0.001"), ("0.1", "0.01"),
    ]  # fmt: skip
    for row in rows:
        run = run_record.read(grid / "search" / "grid" / row["runs"])
        assert run.status == "complete"
        assert run.fingerprint == row["fingerprints"]
        assert run.spec.dataset["name"] == "digits:validation"
        assert run.history["test_accuracy"][-1] == pytest.approx(float(row["score"]))
        values = run.spec.arm.network["config"]
        assert values["kernel_initializer"]["config"]["stddev"] == float(
            row["network.kernel_initializer.stddev"]
        )
        assert values["bias_initializer"]["config"]["value"] == float(
            row["network.kernel_initializer.stddev"]
        )
    best = max(rows, key=lambda row: float(row["score"]))
    file = search_directory(grid) / "best.json"
    assert json.loads(file.read_text())[RATE] == float(best[RATE])
    assert imread(search_directory(grid) / "search.png").std() > 0.05

    argv = [*ARGV[:5], "--arm", "std_0.1", "--set-file", str(file), "--dry-run"]
    assert reproduce.main(argv) == 0
    (arm,) = json.loads(capsys.readouterr().out)["arms"].values()
    assert arm["optimizer"]["config"]["learning_rate"] == float(best[RATE])
    assert (arm["steps"], arm["held_out"]) == (3, 5000)


def test_repeating_a_search_trains_nothing_and_prints_the_same(grid, capsys):
    before = (search_directory(grid) / "trials.csv").read_bytes()
    assert tune.main(tune_argv(grid, "--jobs", "1", "--json")) == 0
    out, err = capsys.readouterr()
    assert "resuming after 4 finished trials" in err
    assert f"tensorboard --logdir '{grid}/search/grid'" in err
    assert [row["trial"] for row in json.loads(out)] == [0, 1, 2, 3]
    assert (search_directory(grid) / "trials.csv").read_bytes() == before


def test_the_test_split_is_not_used_and_training_examples_are_those_of_the_arm():
    from experiments.harness.data import sources

    whole, _ = sources.load("mnist", "digits")
    split, _ = sources.load("mnist", "digits:validation")
    kept = whole.held_out_count(5_000)
    assert (split.x_test == whole.x_train[:kept]).all()
    assert (split.x_train == whole.x_train[kept:]).all()
    assert len(split.y_train) == len(whole.y_train) - kept
    assert split.sha256 != whole.sha256


def test_the_journal_of_another_search_or_a_damaged_one_is_refused(grid, tmp_path, capsys):
    assert tune.main(tune_argv(grid, "--jobs", "1", "--seed", "1")) == 2
    assert "belongs to another search" in capsys.readouterr().err
    assert tune.main(tune_argv(grid, "--jobs", "1", "--data", "mnist5k")) == 2
    assert " here); give the same --data, choose another --name" in capsys.readouterr().err
    journal = search_directory(tmp_path) / "trials.json"
    journal.parent.mkdir(parents=True)
    for text in ("", "[]", '{"search": {}, "trials": {"x": 1}}'):
        journal.write_text(text)
        assert tune.main(tune_argv(tmp_path, "--jobs", "1")) == 2
        err = capsys.readouterr().err
        assert "is damaged" in err
        assert err.count("\n") == 1


def test_merged_shards_are_the_whole_search(grid, tmp_path):
    for shard in ("1/2", "2/2"):
        logdir = tmp_path / shard[0]
        assert tune.main(tune_argv(logdir, "--jobs", "1", "--shard", shard)) == 0
        assert len(read_table(logdir)) == 2
    parts = [str(tmp_path / k) for k in "12"]
    assert tune.main(tune_argv(tmp_path / "all", "--merge", *parts)) == 0
    assert read_table(tmp_path / "all") == read_table(grid)


def test_a_search_whose_trials_all_diverge_says_so(tmp_path, capsys):
    space = [KINDS, f"{STD}=[0.1]", f"{RATE}=[1e4]"]
    bare = ["--set", 'loss={"class_name": "zoo>BareLogCrossentropy", "config": {}}']
    assert tune.main([*tune_argv(tmp_path, "--jobs", "1", space=space), *bare]) == 0
    assert "2 of 2 trials diverged (100%); there is no best trial" in capsys.readouterr().out
    assert [row["score"] for row in read_table(tmp_path)] == ["0.0", "0.0"]
    assert all(int(row["diverged_by_step"]) in (3, 6, 9, 12) for row in read_table(tmp_path))
    stds = {
        row["network.kernel_initializer"]: row[STD.split("+")[0]] for row in read_table(tmp_path)
    }
    assert stds == {"TruncatedNormal": "0.1", "HeNormal": ""}
    assert not (search_directory(tmp_path) / "best.json").exists()
    assert imread(search_directory(tmp_path) / "search.png").std() > 0.01


@pytest.mark.slow
def test_hyperband_resumes_the_runs_that_it_promotes(tmp_path):
    flags = ["--jobs", "1", "--executions-per-trial", "2", "--set", "intervals=3"]
    assert tune.main(tune_argv(tmp_path, *flags, oracle="hyperband")) == 0
    rows = read_table(tmp_path, "hyperband")
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


def test_executions_is_an_alias_of_executions_per_trial():
    for flag in ("--executions", "--executions-per-trial"):
        assert tune.parser().parse_args([*ARGV, flag, "2"]).executions_per_trial == 2


def test_the_dry_run_prints_the_space_as_json(capsys):
    assert tune.main([*ARGV, "--space", KINDS, f"{STD}=log:0.01:0.1:2", "--dry-run"]) == 0
    kinds, std, _ = json.loads(capsys.readouterr().out)
    assert list(kinds) == ["paths", "points", "low", "high", "log", "when"]
    assert std == {
        "paths": STD.split("+"),
        "points": [0.01, 0.1],
        "low": 0.01,
        "high": 0.1,
        "log": True,
        "when": ["network.kernel_initializer", "TruncatedNormal"],
    }


def long_trials_argv(logdir: Path, *flags: str) -> list[str]:
    """Return the arguments of a search of six trials, each long enough to be killed in."""
    return [*tune_argv(logdir, *flags, space=SIX_TRIALS), "--set", "steps=8", "intervals=5"]


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> list[dict[str, str]]:
    logdir = tmp_path_factory.mktemp("serial")
    assert tune.main(long_trials_argv(logdir, "--jobs", "1")) == 0
    return read_table(logdir)


def wait_for(process: subprocess.Popen, text: str) -> None:
    """Read a process's output up to a line that contains ``text``."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return
    raise AssertionError("".join(lines))


@pytest.mark.slow  # the next test compares two jobs with a serial search, too
@pytest.mark.parametrize("oracle", ORACLES)
def test_two_jobs_write_the_table_of_a_serial_search_to_the_byte(oracle, tmp_path):
    tables = []
    for jobs in ("1", "2"):
        flags = ["--jobs", jobs, *["--trials", "7"] * (oracle in NEED_TRIAL_COUNT)]
        argv = tune_argv(tmp_path / jobs, *flags, oracle=oracle)
        assert tune.main(argv) == 0
        tables.append((search_directory(tmp_path / jobs, oracle) / "trials.csv").read_bytes())
    assert tables[0] == tables[1]
    assert tables[0].count(b"\n") > 4


@pytest.mark.slow
def test_jobs_die_with_a_killed_search_which_resumes_to_the_serial_table(tmp_path, serial, capfd):
    search = start_tune(*long_trials_argv(tmp_path, "--jobs", "2"))
    wait_for(search, "[1/6]")
    jobs = child_pids(search.pid)
    assert len(jobs) >= 2
    search.kill()
    search.wait(60)
    search.stdout.close()
    deadline = time.monotonic() + 60
    while any(is_alive(pid) for pid in jobs) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_alive(pid) for pid in jobs)
    known = json.loads((search_directory(tmp_path) / "trials.json").read_text())["trials"]
    assert 0 < len(known) < 6
    assert tune.main(long_trials_argv(tmp_path, "--jobs", "2", "--json")) == 0
    out, err = capfd.readouterr()
    assert [row["trial"] for row in json.loads(out)] == [*range(6)]  # and nothing else
    assert f"resuming after {len(known)} finished trials" in err
    assert read_table(tmp_path) == serial


def child_pids(pid: int) -> list[int]:
    return [int(number) for number in ps("--ppid", str(pid), "-o", "pid=").split()]


def is_alive(pid: int) -> bool:
    state = ps("-p", str(pid), "-o", "stat=")
    return bool(state.strip()) and not state.startswith("Z")


def ps(*argv: str) -> str:
    return subprocess.run(["ps", *argv], capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--space", "nonsense"], "is not PATH=VALUES"),
        (["--space", f"{RATE}=log:0:1"], "not above 0"),
        (["--space", f"{RATE}=linear:3:2"], "the range is empty"),
        (["--space", f"{RATE}=[1,"], "the list is not JSON"),
        (["--space", "optimizer.rate=log:1:2"], "cannot be built"),
        (["--space", "ratte=[1, 2]"], "an arm has no field 'ratte'"),
        (["--space", f'{RATE}=["x"]'], "is of another type"),
        (["--space", f'{RATE}=[1e-3, "x", 1e-2]'], "is of another type"),
        (["--space", 'network.kernel_initializer=["HeNormal"]', f"{STD}=[1]"], "never be active"),
        (["--space", f"{RATE}+steps=[1]", "steps+batch_size=[2]"], "steps is in the space twice"),
        (["--seed", "4294967295"], "lead to seeds of 2**32 or more"),
        (["--shard", "3/2"], "is not I/N"),
        (["--merge", "nowhere", "--shard", "1/2"], "--merge cannot be combined with --shard"),
        (["--oracle", "bayesian", "--shard", "1/2"], "others depend on earlier trials"),
        (["--oracle", "grid", "--trials", "3"], "--trials is for random and bayesian"),
        (["--merge", "nowhere"], "--merge cannot be combined with --jobs"),
        (["--arm", "nine"], "has no arm 'nine'"),
    ],
)
def test_bad_use_exits_with_2_and_one_line(flags, line, tmp_path, capsys):
    try:
        code = tune.main([*ARGV, "--jobs", "1", "--logdir", str(tmp_path), *flags])
    except SystemExit as error:
        code = error.code
    assert code == 2
    err = capsys.readouterr().err
    assert line in err
    assert "Traceback" not in err
