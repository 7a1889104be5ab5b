"""The command as a person uses it: mostly in this process, kills and signals in others."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments import catalog, reproduce
from experiments.harness.data import faces
from experiments.harness.runtime import backends
from experiments.harness.storage import run_record

ROOT = Path(__file__).parents[1]
TINY = ["network.width=0.0625", "batch_size=8", "steps=4", "intervals=4", "test_examples=20"]
ARGV = ["alexnet_lr_decay", "--data", "digits", "--scale", "mini", "--set", *TINY]
CLAIMS = len(catalog.load("alexnet_lr_decay").claims)
BACKENDS = [name for name in backends.PACKAGES if find_spec(name)]


def start(*argv: str, backend: str | None = None, **options) -> subprocess.Popen:
    environ = os.environ | ({"KERAS_BACKEND": backend} if backend else {})
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.reproduce", *argv],
        cwd=ROOT,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def fingerprints(logdir: Path) -> dict[str, str]:
    runs = {path.parent: run_record.read(path.parent) for path in logdir.rglob("run.json")}
    assert all(run.status == "complete" for run in runs.values())
    return {str(path.relative_to(logdir)): run.fingerprint for path, run in runs.items()}


@pytest.mark.parametrize("argv", [["--list"], ["--help"]])
def test_list_and_help_import_no_backend(argv):
    code = f"""if True:
        import sys
        from experiments import catalog, reproduce
        try:
            reproduce.main({argv})
        finally:
            assert not set(sys.modules) & {{"keras", "tensorflow", "jax", "torch"}}
    """
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stderr
    assert "alexnet_lr_decay" in completed.stdout or "--scale" in completed.stdout


def test_a_closed_pipe_is_not_an_error():
    command = f"{sys.executable} -m experiments.reproduce alexnet_lr_decay --dry-run --scale mini"
    completed = subprocess.run(
        ["bash", "-c", f"{command} | head -c 1; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "{", "")


def test_all_at_a_scale_are_the_experiments_that_have_it(capsys):
    assert reproduce.main(["--all", "--scale", "protocol", "--dry-run"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload
    assert all(each["scale"] == "protocol" for each in payload)
    wanted = [name for name in catalog.names() if "protocol" in catalog.load(name).at]
    assert [each["experiment"] for each in payload] == wanted != catalog.names()


def test_dry_run_prints_the_resolved_arms(capsys):
    assert reproduce.main([*ARGV, "optimizer.learning_rate=0.5", "--dry-run"]) == 0
    payload = json.loads(capsys.readouterr().out)
    arm = payload["arms"]["decayed_rate"]
    assert arm["optimizer"]["config"]["learning_rate"] == 0.5
    assert arm["schedule"] == [[30, 0.1], [50, 0.01], [70, 0.001]]
    assert list(payload["arms"]) == ["fixed_rate", "decayed_rate", "fixed_rate_stable_loss"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--list"),
        (["--all", "alexnet_lr_decay"], "--all"),
        (["--all", "--set", "steps=3"], "not for --all"),
        (["--all", "--batch-runs"], "--batch-runs is for one experiment"),
        ([*ARGV, "--batch-runs", "--jobs", "2"], "without --jobs"),
        ([*ARGV, "--data", "frames"], "train on mnist, but --data frames is for frames"),
        (
            ["weights_or_biases", "--data", "digits"],
            "train on frames, but --data digits is for mnist",
        ),
        (["alexnet_lr_decay", "--data", "digits", "mnist", "a.npz"], "twice"),
        (["depth_and_activation", "--scale", "mini", "--arm", "tanh_he_skip_50"], "at mini"),
        (
            ["constant_init", "--scale", "protocol"],
            "has no scale 'protocol'; available: full, mini",
        ),
        (["alexnet_lr_dekay"], "did you mean 'alexnet_lr_decay'?"),
        ([*ARGV, "--arm", "fixed"], "did you mean 'fixed_rate'?"),
        ([*ARGV, "optimiser.learning_rate=1"], "did you mean 'optimizer'?"),
        ([*ARGV, "batch_size=ten"], "another type"),
        ([*ARGV, "batch_size=0"], "batch_size must be 1 or more"),
        (["alexnet_lr_decay", "--data", "no/such.npz"], "no file no/such.npz"),
        (["alexnet_lr_decay", "--data", __file__], "cannot be read"),
        ([*ARGV, "--logdir", __file__], "cannot write in"),
        ([*ARGV, "optimizer.learning_rat=1.0", "--logdir", "{tmp}"], "learning_rat"),
        ([*ARGV, "network.widht=1.0", "--logdir", "{tmp}"], "widht"),
    ],
)
def test_bad_input_is_reported_in_one_line_with_exit_code_2(argv, message, tmp_path, capsys):
    assert reproduce.main([text.format(tmp=tmp_path) for text in argv]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("reproduce: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "argv",
    [
        ["--seed", "-1"],
        ["--intervals", "0"],
        ["--set", "steps"],
        ["--scale", "huge"],
        ["--time-limit", "0"],
        ["--time-limit", "soon"],
        ["--time-limit", "nan"],
    ],
)
def test_a_bad_value_of_a_flag_is_reported_in_one_line_with_exit_code_2(argv, capsys):
    with pytest.raises(SystemExit) as exit_info:
        reproduce.main(["alexnet_lr_decay", *argv])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"reproduce: argument {argv[0]}: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("flag", ["--batch-runs", "--together"])  # the second is the former name
def test_batched_runs_need_jax(flag, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert reproduce.main([*ARGV, flag]) == 2
    error = capsys.readouterr().err
    assert error == "reproduce: --batch-runs needs KERAS_BACKEND=jax, not torch\n"


@pytest.mark.parametrize(
    ("backend", "message"), [("abacus", "unknown backend"), ("torch", "not installed")]
)
def test_a_missing_backend_is_reported_in_one_line(backend, message):
    code = f"""if True:
        import importlib.util
        from experiments import catalog, reproduce
        find_spec = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == {backend!r} else find_spec(name)
        raise SystemExit(reproduce.main({ARGV}))
    """
    completed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 2
    assert message in completed.stderr
    assert completed.stderr.count("\n") == 1


@pytest.mark.skipif("jax" not in BACKENDS, reason="JAX is not installed")
def test_tensorboard_shows_the_same_without_tensorflow(tmp_path):
    argv = [*ARGV, "--arm", "decayed_rate", "--telemetry-every", "2", "--logdir"]
    without = [*argv, str(tmp_path / "without")]
    code = f"""if True:
        import sys
        from importlib.machinery import PathFinder

        class Without(PathFinder):
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                return None if name == "tensorflow" else super().find_spec(name, path, target)

        sys.meta_path[sys.meta_path.index(PathFinder)] = Without
        from experiments import reproduce
        code = reproduce.main({without})
        raise SystemExit("tensorflow was imported" if "tensorflow" in sys.modules else code)
    """
    environ = os.environ | {"KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, check=True)
    assert reproduce.main([*argv, str(tmp_path / "with")]) == 0
    assert tags(tmp_path / "without") == tags(tmp_path / "with")


def tags(logdir: Path) -> dict[str, dict]:
    """Return the tags that TensorBoard's own reader finds, by directory."""
    found = {}
    for folder in {path.parent for path in logdir.rglob("events.*")}:
        reader = EventAccumulator(str(folder), size_guidance={"tensors": 0})
        reader.Reload()
        kinds = {kind: tags for kind, tags in reader.Tags().items() if tags}
        assert kinds
        found[str(folder.relative_to(logdir))] = kinds
    return found


def test_it_trains_judges_and_prints_where_everything_is(tmp_path, capsys):
    argv = [*ARGV, "--logdir", str(tmp_path)]
    assert reproduce.main(argv) == 0
    out = capsys.readouterr().out
    assert "Does lowering the learning rate" in out
    assert "STAND-IN" in out
    for arm in ("fixed_rate", "decayed_rate", "fixed_rate_stable_loss"):
        assert f"{arm}, seed 0" in out
    assert f"C{CLAIMS}" in out
    assert out.partition("Claims and verdicts")[2].count("DATA") == CLAIMS
    picture = tmp_path / "alexnet_lr_decay/mini/curves-part.png"  # as the arms have overrides
    assert str(picture) in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    for fingerprint in fingerprints(tmp_path).values():
        assert fingerprint[:16] in out

    assert reproduce.main([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out, parse_constant=pytest.fail)
    assert [claim["verdict"] for claim in result["claims"]]
    assert {run["fingerprint"] for run in result["runs"]} == set(fingerprints(tmp_path).values())
    assert captured.err.count("already trained") == 3

    for _ in range(2):
        assert reproduce.main([*argv, "--fresh", "--arm", "decayed_rate"]) == 0
        out = capsys.readouterr().out
        assert "already trained" not in out
        assert result["runs"][1]["fingerprint"][:16] in out


def test_parallel_runs_have_the_same_bits_and_are_interrupted_together(tmp_path, capsys):
    argv = [*ARGV, "intervals=15", "--logdir"]  # three arms
    interrupted = start(*argv, str(tmp_path / "a"), "--jobs", "2")
    while len([*(tmp_path / "a").glob("*/mini/*/seed0/run.json")]) < 2:
        assert interrupted.poll() is None, interrupted.communicate()
        time.sleep(0.01)
    interrupted.send_signal(signal.SIGTERM)
    _, error = interrupted.communicate(timeout=60)
    assert (interrupted.returncode, error.strip().count("\n")) == (130, 0), error
    paths = [*(tmp_path / "a").rglob("run.json")]
    # those running, and no others
    assert [run_record.read(path.parent).status for path in paths] == ["interrupted"] * 2
    for logdir, jobs in (("a", "2"), ("b", "1")):
        assert reproduce.main([*argv, str(tmp_path / logdir), "--jobs", jobs]) == 0
        out, error = capsys.readouterr()
        assert ("3 runs, 2 at a time" in out) == (jobs == "2")
        prefixed = "alexnet_lr_decay:decayed_rate, seed 0: resuming after interval"
        assert (prefixed in out) == (logdir == "a")
        assert "Claims and verdicts" in out
        assert "already trained" not in out + error
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def test_the_workers_of_a_killed_command_end_too(tmp_path):
    argv = [*ARGV, "intervals=10000", "--arm", "fixed_rate", "decayed_rate", "--jobs", "2"]
    killed = start(*argv, "--logdir", str(tmp_path))
    (seed, *_) = record_directories(tmp_path, killed)
    wait_for(seed / "state" / "000001", killed)
    killed.kill()
    killed.communicate(timeout=60)  # its workers hold the write ends of its pipes


def test_a_worker_that_dies_ends_the_command_with_exit_code_1_and_one_line(tmp_path, capsys):
    argv = [*ARGV, "intervals=10000", "--arm", "fixed_rate", "decayed_rate", "--jobs", "2"]

    def kill_a_worker() -> None:
        while len({path.parent for path in tmp_path.rglob("state/*[1-9]*")}) < 2:
            time.sleep(0.01)
        multiprocessing.active_children()[0].kill()

    threading.Thread(target=kill_a_worker, daemon=True).start()
    assert reproduce.main([*argv, "--logdir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error == "reproduce: a worker process died; run again to resume\n"
    assert not multiprocessing.active_children()
    for path in tmp_path.rglob("run.json"):
        assert run_record.read(path.parent).intervals >= 1


def test_a_nondeterministic_run_is_marked_and_not_mixed_with_others(tmp_path, capsys):
    argv = [*ARGV, "intervals=1", "--arm", "decayed_rate", "--logdir", str(tmp_path)]
    process = start(*argv, "--allow-nondeterministic")
    out, error = process.communicate()
    assert process.returncode == 0, error
    assert "NOT deterministic" in out
    (path,) = tmp_path.rglob("run.json")
    assert json.loads(path.read_text())["environment"]["deterministic"] is False
    assert reproduce.main(argv) == 2
    assert "belongs to another run: environment" in capsys.readouterr().err
    assert reproduce.main([*argv, "--allow-nondeterministic"]) == 2
    assert "a new process" in capsys.readouterr().err


def test_partial_runs_are_marked_and_not_judged(tmp_path, capsys):
    argv = [*ARGV, "--logdir", str(tmp_path), "--intervals", "1", "--arm", "fixed_rate"]
    assert reproduce.main(argv) == 0
    out = capsys.readouterr().out
    assert out.count("INCONCLUSIVE") == CLAIMS
    assert "partial, 1 of 4 intervals" in out
    assert "REPRODUCED" not in out
    assert "REFUTED" not in out


def test_within_its_time_limit_it_trains_an_interval_and_the_same_command_resumes(tmp_path, capsys):
    argv = [*ARGV, "--logdir", str(tmp_path), "--arm", "fixed_rate", "decayed_rate", "--json"]
    for interval, jobs in ((1, "1"), (2, "2")):
        assert reproduce.main([*argv, "--time-limit", "0.0001", "--jobs", jobs]) == 0
        captured = capsys.readouterr()
        result = json.loads(captured.out)
        (run,) = result["runs"]  # the other one is not started
        assert (run["arm"], run["status"], run["intervals"]) == ("fixed_rate", "partial", interval)
        assert {claim["verdict"] for claim in result["claims"]} == {"INCONCLUSIVE"}
        assert result["left"] == 2
        assert "limit reached: 0 of 2 runs complete, 2 left; run again" in captured.err
    assert reproduce.main([*argv, "--time-limit", "60"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["left"] == 0
    assert captured.err.count("resuming after interval") == 1
    assert "all 2 runs are complete" in captured.err
    assert len(fingerprints(tmp_path)) == 2


def test_an_override_that_removes_metrics_leaves_claims_unjudged_without_a_traceback(
    tmp_path, capsys
):
    argv = [*ARGV, "metrics=[]", "--arm", "decayed_rate", "--logdir", str(tmp_path)]
    assert reproduce.main(argv) == 0
    assert "arms changed" in capsys.readouterr().out


def test_all_experiments_end_with_an_overview(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(catalog, "names", lambda: ["alexnet_default_init", "weights_or_biases"])
    monkeypatch.setattr(faces, "TRAIN", 64)
    monkeypatch.setattr(faces, "TEST", 64)
    argv = ["--all", "--scale", "mini", "--data", "digits", "--logdir", str(tmp_path)]
    argv += ["--jobs", "1"]  # other processes would draw all frames
    assert reproduce.main([*argv, "--seed", "0", "--intervals", "1", "--json"]) == 0
    captured = capsys.readouterr()
    payload = json.loads(captured.out)
    assert [result["experiment"] for result in payload] == catalog.names()
    assert [data["name"] for result in payload for data in result["datasets"]] == [
        "digits",
        "frames",
    ]
    overview = captured.err.partition("All experiments:")[2]
    assert "alexnet_default_init" in overview
    assert "weights_or_biases" in overview


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_and_run_again_it_has_the_fingerprints_of_an_undisturbed_run(tmp_path, backend):
    argv = [*ARGV, "intervals=20", "--arm", "decayed_rate", "--telemetry-every", "0", "--logdir"]
    killed = start(*argv, str(tmp_path / "a"), backend=backend)
    (seed,) = record_directories(tmp_path / "a", killed)
    while max((int(path.name) for path in seed.glob("state/[0-9]*")), default=0) < 2:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert run_record.read(seed).status == "running"
    for logdir in ("a", "b"):
        process = start(*argv, str(tmp_path / logdir), backend=backend)
        out, error = process.communicate()
        assert process.returncode == 0, error
        assert ("resuming after interval" in out) == (logdir == "a")
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def record_directories(logdir: Path, process: subprocess.Popen) -> list[Path]:
    while not (found := list(logdir.glob("*/*/*/seed*"))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_exit_code_130_and_a_second_process_is_refused(tmp_path, number):
    argv = [*ARGV, "intervals=10000", "--arm", "decayed_rate", "--logdir", str(tmp_path)]
    running = start(*argv)
    (seed,) = record_directories(tmp_path, running)
    wait_for(seed / "state" / "000001", running)
    if number == signal.SIGINT:
        second = start(*argv)
        _, error = second.communicate()
        assert second.returncode == 2
        assert "in use by another process" in error
    running.send_signal(number)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted" in error
    found = run_record.read(seed)
    assert found.status == "interrupted"
    assert found.intervals >= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interrupt_while_the_backend_compiles_ends_with_exit_code_130_too(tmp_path, backend):
    argv = [*ARGV, "intervals=10000", "--arm", "decayed_rate", "--logdir", str(tmp_path)]
    running = start(*argv, backend=backend)
    (seed,) = record_directories(tmp_path, running)
    wait_for(seed / "state" / "000000", running)
    time.sleep(0.5)
    running.send_signal(signal.SIGTERM)
    _, error = running.communicate(timeout=60)
    assert (running.returncode, error.strip().count("\n")) == (130, 0), error
