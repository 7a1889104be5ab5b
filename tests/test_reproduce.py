"""The command as a person uses it: mostly in this process, kills and signals in others."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments import catalog, reproduce
from experiments.harness.data import faces, mnist
from experiments.harness.execution import local
from experiments.harness.execution.local import InThisProcess
from experiments.harness.runtime import backends, cpu, env_vars
from experiments.harness.spec import UserError
from experiments.harness.storage import checkpoint, published, run_record
from experiments.harness.study import execute
from tests.helpers.corrupted_runs import SMALL_CNN
from tests.helpers.planning import shrink_miniatures

ROOT = Path(__file__).parents[1]
TINY = ["network=mnist_cnn", "network.widths=[2,2,8]", "network.dropout=0.5", "batch_size=8"]
TINY += ["steps=4", "intervals=4", "test_examples=20"]
ARGV = ["alexnet_lr_decay", "--data", "digits", "--scale", "mini"]
ARGV += ["--telemetry-every", "0", "--set", *TINY]
LONGER = [*ARGV, "intervals=20", "--arm", "decayed_rate"]
TINIER = {"batch_size": 8, "steps": 2, "test_examples": 8}
SMALL = {"alexnet": SMALL_CNN | TINIER, "valence_cnn": {"network.width": 1 / 16} | TINIER}
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


def fingerprints(logdir: Path, status: str = "complete") -> dict[str, str]:
    runs = {path.parent: run_record.read(path.parent) for path in logdir.rglob("run.json")}
    assert all(run.status == status for run in runs.values())
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


@pytest.fixture(scope="module")
def without_tensorflow(tmp_path_factory) -> Path:
    """Return the log directory of ``LONGER``, trained on JAX where there is no TensorFlow."""
    if "jax" not in BACKENDS:
        pytest.skip("JAX is not installed")
    logdir = tmp_path_factory.mktemp("without_tensorflow")
    argv = [*LONGER, "--telemetry-every", "10", "--logdir", str(logdir)]
    code = f"""if True:
        import sys
        from importlib.machinery import PathFinder

        class Without(PathFinder):
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                return None if name == "tensorflow" else super().find_spec(name, path, target)

        sys.meta_path[sys.meta_path.index(PathFinder)] = Without
        from experiments import reproduce
        code = reproduce.main({argv})
        raise SystemExit("tensorflow was imported" if "tensorflow" in sys.modules else code)
    """
    environ = os.environ | {"KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, check=True)
    return logdir


@pytest.fixture(scope="module")
def with_tensorflow(tmp_path_factory) -> Path:
    """Return the log directory of ``LONGER``, trained in this process."""
    logdir = tmp_path_factory.mktemp("with_tensorflow")
    assert reproduce.main([*LONGER, "--telemetry-every", "10", "--logdir", str(logdir)]) == 0
    return logdir


@pytest.mark.slow  # two more processes
def test_tensorboard_shows_the_same_without_tensorflow(without_tensorflow, with_tensorflow):
    assert tags(without_tensorflow) == tags(with_tensorflow)


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
    argv = [*ARGV, "--telemetry-every", "2", "--logdir", str(tmp_path)]
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
    argv = [*ARGV, "intervals=20", "--logdir"]  # three arms

    def interrupt() -> None:
        while len([*(tmp_path / "a").glob("*/mini/*/seed0/run.json")]) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    assert reproduce.main([*argv, str(tmp_path / "a"), "--jobs", "2"]) == 130
    error = capsys.readouterr().err
    assert error.strip().count("\n") == 0, error
    paths = [*(tmp_path / "a").rglob("run.json")]
    statuses = {run_record.read(path.parent).status for path in paths}
    assert {"interrupted"} <= statuses <= {"interrupted", "complete"}
    for logdir, jobs in (("a", "2"), ("b", "1")):
        assert reproduce.main([*argv, str(tmp_path / logdir), "--jobs", jobs]) == 0
        out, error = capsys.readouterr()
        assert ("3 runs, 2 at a time" in out) == (jobs == "2")
        assert (", seed 0: resuming after interval" in out) == (logdir == "a")
        assert "Claims and verdicts" in out
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


@pytest.mark.slow
def test_the_workers_of_a_killed_command_end_too(tmp_path):
    argv = [*ARGV, "intervals=10000", "--arm", "fixed_rate", "decayed_rate", "--jobs", "2"]
    killed = start(*argv, "--logdir", str(tmp_path))
    (seed, *_) = record_directories(tmp_path, killed)
    wait_for(seed / "state" / "000001", killed)
    killed.kill()
    killed.communicate(timeout=60)  # its workers hold the write ends of its pipes


@pytest.mark.slow  # test_local.py kills a process of a task
def test_a_run_whose_process_is_killed_is_resumed_in_another(tmp_path, capsys, monkeypatch):
    argv = [*ARGV, "intervals=20", "--arm", "fixed_rate", "decayed_rate", "--jobs", "2"]
    started = []

    class Process(local.Process):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            started.append(self)

    def kill_a_process() -> None:
        while not any(map(newest_saved, tmp_path.glob("alexnet_small_init/**/state"))):
            time.sleep(0.01)
        started[0].popen.kill()

    monkeypatch.setattr(local, "Process", Process)
    threading.Thread(target=kill_a_process, daemon=True).start()
    assert reproduce.main([*argv, "--logdir", str(tmp_path)]) == 0
    out, error = capsys.readouterr()
    assert error == ""
    assert out.count("; it is started again") == 1
    assert out.count("resuming after interval") == 1
    assert len(started) == 3
    assert all(process.popen.returncode is not None for process in started)
    assert len(fingerprints(tmp_path)) == 2


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
    assert "DIFFERS" not in out


def test_offline_the_default_is_mnist5k_and_a_directory_of_digits_is_refused(
    tmp_path, monkeypatch, capsys
):
    def download():
        raise Exception("offline")  # as Keras does

    monkeypatch.setattr(mnist, "_keras_cache", lambda: tmp_path / "mnist.npz")
    monkeypatch.setattr(mnist, "_download", download)
    chosen = ["--scale", "mini", "--arm", "fixed_rate", "--intervals", "1", "--set", *TINY]
    argv = ["alexnet_lr_decay", *chosen, "--logdir"]
    logdir = tmp_path / "logs"
    assert reproduce.main([*argv, str(logdir), "--data", "digits"]) == 0
    before = fingerprints(logdir, status="partial")
    capsys.readouterr()
    assert reproduce.main([*argv, str(logdir)]) == 2
    out, error = capsys.readouterr()
    assert "sha256 5eea7b2e46111cc4: A STAND-IN, not the document's data" in out
    assert "could not be downloaded (offline); mnist5k stands in" in out
    assert "; give --data digits, name another --logdir, or start over with --fresh\n" in error
    assert error.count("\n") == 1
    assert reproduce.main([*argv, str(logdir), "--data", "digits"]) == 0
    assert "sha256 5eea7b2e46111cc4" not in capsys.readouterr().out
    assert fingerprints(logdir, status="partial") == before


def test_within_its_time_limit_it_trains_an_interval_and_the_same_command_resumes(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(execute, "choose", lambda *_: InThisProcess())
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
    shrink_miniatures(monkeypatch, SMALL)
    monkeypatch.setattr(faces, "TRAIN", 64)
    monkeypatch.setattr(faces, "TEST", 64)
    argv = ["--all", "--scale", "mini", "--data", "digits", "--logdir", str(tmp_path)]
    argv += ["--jobs", "1"]  # other processes would draw all frames
    argv += ["--seed", "0", "--intervals", "1", "--telemetry-every", "0", "--json"]
    assert reproduce.main(argv) == 0
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


def newest_saved(state: Path) -> int:
    """Return the interval of the newest checkpoint, 0 if there is none."""
    return max(checkpoint.saved(state), default=0)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name == os.environ["KERAS_BACKEND"] else pytest.mark.slow)
        for name in BACKENDS
    ]
)
def undisturbed(request, tmp_path_factory) -> tuple[str, Path]:
    """Return a backend, and the log directory of ``LONGER`` on it."""
    if request.param == "jax":
        return "jax", request.getfixturevalue("without_tensorflow")
    if request.param == os.environ["KERAS_BACKEND"]:
        return request.param, request.getfixturevalue("with_tensorflow")
    logdir = tmp_path_factory.mktemp("undisturbed")
    process = start(*LONGER, "--logdir", str(logdir), backend=request.param)
    _, error = process.communicate()
    assert process.returncode == 0, error
    return request.param, logdir


def test_killed_and_run_again_it_has_the_fingerprints_of_an_undisturbed_run(undisturbed, tmp_path):
    backend, logdir = undisturbed
    argv = [*LONGER, "--logdir", str(tmp_path)]
    killed = start(*argv, backend=backend)
    (seed,) = record_directories(tmp_path, killed)
    while newest_saved(seed / "state") < 2:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert run_record.read(seed).status == "running"
    resumed = start(*argv, backend=backend)
    out, error = resumed.communicate()
    assert (resumed.returncode, error) == (0, "")  # no warnings
    assert "resuming after interval" in out
    assert fingerprints(tmp_path) == fingerprints(logdir)


def record_directories(logdir: Path, process: subprocess.Popen) -> list[Path]:
    while not (found := list(logdir.glob("*/*/*/seed*"))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found


def test_an_interrupt_ends_with_exit_code_130_and_a_second_process_is_refused(tmp_path, capsys):
    argv = [*ARGV, "intervals=10000", "--arm", "decayed_rate", "--logdir", str(tmp_path)]
    running = start(*argv)
    (seed,) = record_directories(tmp_path, running)
    wait_for(seed / "state" / "000001", running)
    assert reproduce.main(argv) == 2
    assert "in use by another process" in capsys.readouterr().err
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted" in error
    found = run_record.read(seed)
    assert found.status == "interrupted"
    assert found.intervals >= 1


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param(backend, marks=[pytest.mark.slow] * (backend != BACKENDS[0]))
        for backend in BACKENDS
    ],
)
def test_an_interrupt_while_the_backend_compiles_ends_with_exit_code_130_too(tmp_path, backend):
    argv = [*ARGV, "intervals=10000", "--arm", "decayed_rate", "--logdir", str(tmp_path)]
    running = start(*argv, backend=backend)
    (seed,) = record_directories(tmp_path, running)
    wait_for(seed / "state" / "000000", running)
    time.sleep(0.5)
    running.send_signal(signal.SIGTERM)
    _, error = running.communicate(timeout=60)
    assert (running.returncode, error.strip().count("\n")) == (130, 0), error


def test_a_run_is_compared_with_the_published_one(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "chains"
    monkeypatch.setattr(published, "FOLDER", folder)
    argv = [*ARGV, "intervals=2", "--arm", "decayed_rate", "--logdir", str(tmp_path / "a")]
    assert reproduce.main(argv) == 0
    assert "published" not in capsys.readouterr().out.split("Runs and their fingerprints")[1]
    (directory,) = (path.parent for path in tmp_path.rglob("run.json"))
    run = run_record.read(directory)

    path = published.publish([run], folder)
    assert reproduce.main(argv) == 0
    assert "identical to the published run: decayed_rate seed 0" in capsys.readouterr().out

    published.publish([replace(run, chain=(*run.chain[:2], "0" * 64))], folder)
    assert reproduce.main([*argv, "--json"]) == 1
    captured = capsys.readouterr()
    (row,) = json.loads(captured.out)["published"]
    assert row == {"arm": "decayed_rate", "seed": 0, "intervals": 2, "differs_at": 2}
    assert "differs from the published run of the same environment at interval 2" in captured.err
    assert f"verify {directory} finds the cause" in captured.err

    path.unlink()
    portable = {**run.spec.environment, "cpu": "portable-1"}
    published.publish([replace(run, spec=replace(run.spec, environment=portable))], folder)
    assert reproduce.main(argv) == 0
    assert "has no published run; compare with --portable" in capsys.readouterr().out


@pytest.mark.skipif("jax" not in BACKENDS, reason="JAX is not installed")
def test_this_machine_gives_the_published_portable_run(tmp_path):
    try:
        cpu.check_portable()
    except UserError as error:
        pytest.skip(str(error))
    argv = ["alexnet_lr_decay", "--portable", "--scale", "mini", "--arm", "decayed_rate"]
    argv += ["--data", "mnist5k", "--intervals", "3", "--telemetry-every", "0"]
    completed = subprocess.run(
        [sys.executable, "-m", "experiments.reproduce", *argv, "--logdir", str(tmp_path)],
        cwd=ROOT,
        env=env_vars.original_environ() | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "identical to the published run: decayed_rate seed 0 (3 intervals)" in completed.stdout
