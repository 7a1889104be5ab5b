"""The door, as a person uses it: most of it in this process, kills and signals in others."""

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
WORDS = ["alexnet_lr_decay", "--data", "digits", "--scale", "mini", "--set", *TINY]
CLAIMS = len(catalog.load("alexnet_lr_decay").claims)
BACKENDS = [name for name in backends.PACKAGES if find_spec(name)]


def door(*words: str, backend: str | None = None, **options) -> subprocess.Popen:
    environ = os.environ | ({"KERAS_BACKEND": backend} if backend else {})
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.reproduce", *words],
        cwd=ROOT,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def fingerprints(logdir: Path) -> dict[str, str]:
    found = {path.parent: run_record.load(path.parent) for path in logdir.rglob("run.json")}
    assert all(run.status == "complete" for run in found.values())
    return {str(path.relative_to(logdir)): run.fingerprint for path, run in found.items()}


@pytest.mark.parametrize("words", [["--list"], ["--help"]])
def test_fast_doors_import_no_backend(words):
    code = f"""if True:
        import sys
        from experiments import catalog, reproduce
        try:
            reproduce.main({words})
        finally:
            assert not set(sys.modules) & {{"keras", "tensorflow", "jax", "torch"}}
    """
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert "alexnet_lr_decay" in made.stdout or "--scale" in made.stdout


def test_a_reader_who_has_read_enough_is_no_error():
    words = f"{sys.executable} -m experiments.reproduce alexnet_lr_decay --dry-run --scale mini"
    made = subprocess.run(
        ["bash", "-c", f"{words} | head -c 1; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (made.returncode, made.stdout, made.stderr) == (0, "{", "")


def test_dry_run_prints_the_resolved_arms(capsys):
    assert reproduce.main([*WORDS, "optimizer.learning_rate=0.5", "--dry-run"]) == 0
    told = json.loads(capsys.readouterr().out)
    arm = told["arms"]["decayed_rate"]
    assert arm["optimizer"]["config"]["learning_rate"] == 0.5
    assert arm["schedule"] == [[30, 0.1], [50, 0.01], [70, 0.001]]
    assert list(told["arms"]) == ["fixed_rate", "decayed_rate", "fixed_rate_stable_loss"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--list"),
        (["--all", "alexnet_lr_decay"], "--all"),
        (["--all", "--set", "steps=3"], "not for --all"),
        (["--all", "--together"], "--together is for one experiment"),
        ([*WORDS, "--together", "--jobs", "2"], "without --jobs"),
        ([*WORDS, "--data", "frames"], "train on mnist; --data frames is no source"),
        (
            ["weights_or_biases", "--data", "digits"],
            "train on frames; --data digits is not a source",
        ),
        (["alexnet_lr_decay", "--data", "digits", "mnist", "a.npz"], "twice"),
        (["depth_and_activation", "--scale", "mini", "--arm", "tanh_he_skip_50"], "at mini"),
        (["alexnet_lr_dekay"], "did you mean 'alexnet_lr_decay'?"),
        ([*WORDS, "--arm", "fixed"], "did you mean 'fixed_rate'?"),
        ([*WORDS, "optimiser.learning_rate=1"], "did you mean 'optimizer'?"),
        ([*WORDS, "batch_size=ten"], "another type"),
        ([*WORDS, "batch_size=0"], "batch_size must be 1 or more"),
        (["alexnet_lr_decay", "--data", "no/such.npz"], "no file no/such.npz"),
        (["alexnet_lr_decay", "--data", __file__], "cannot be read"),
        ([*WORDS, "--logdir", __file__], "cannot write in"),
        ([*WORDS, "optimizer.learning_rat=1.0", "--logdir", "{tmp}"], "learning_rat"),
        ([*WORDS, "network.widht=1.0", "--logdir", "{tmp}"], "widht"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(words, told, tmp_path, capsys):
    assert reproduce.main([word.format(tmp=tmp_path) for word in words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("reproduce: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "words",
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
def test_a_word_that_argparse_refuses_is_one_line_and_exit_code_2_too(words, capsys):
    with pytest.raises(SystemExit) as refused:
        reproduce.main(["alexnet_lr_decay", *words])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"reproduce: argument {words[0]}: ")
    assert error.count("\n") == 1


def test_together_takes_jax(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert reproduce.main([*WORDS, "--together"]) == 2
    error = capsys.readouterr().err
    assert error == "reproduce: --together takes KERAS_BACKEND=jax, not torch\n"


@pytest.mark.parametrize(
    ("backend", "told"), [("abacus", "unknown backend"), ("torch", "not installed")]
)
def test_a_backend_that_is_not_there_is_told(backend, told):
    code = f"""if True:
        import importlib.util
        from experiments import catalog, reproduce
        found = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == {backend!r} else found(name)
        raise SystemExit(reproduce.main({WORDS}))
    """
    made = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 2
    assert told in made.stderr
    assert made.stderr.count("\n") == 1


@pytest.mark.skipif("jax" not in BACKENDS, reason="JAX is not installed")
def test_where_tensorflow_is_not_installed_tensorboard_shows_the_same(tmp_path):
    words = [*WORDS, "--arm", "decayed_rate", "--telemetry-every", "2", "--logdir"]
    without = [*words, str(tmp_path / "without")]
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
    assert reproduce.main([*words, str(tmp_path / "with")]) == 0
    assert tags(tmp_path / "without") == tags(tmp_path / "with")


def tags(logdir: Path) -> dict[str, dict]:
    """Return what TensorBoard's own reader finds, by directory."""
    found = {}
    for folder in {path.parent for path in logdir.rglob("events.*")}:
        reader = EventAccumulator(str(folder), size_guidance={"tensors": 0})
        reader.Reload()
        kinds = {kind: told for kind, told in reader.Tags().items() if told}
        assert kinds
        found[str(folder.relative_to(logdir))] = kinds
    return found


def test_it_tells_trains_judges_and_points_to_everything(tmp_path, capsys):
    words = [*WORDS, "--logdir", str(tmp_path)]
    assert reproduce.main(words) == 0
    told = capsys.readouterr().out
    assert "Does lowering the learning rate" in told
    assert "STAND-IN" in told
    for arm in ("fixed_rate", "decayed_rate", "fixed_rate_stable_loss"):
        assert f"{arm}, seed 0" in told
    assert f"C{CLAIMS}" in told
    assert told.partition("Claims and verdicts")[2].count("DATA") == CLAIMS
    picture = tmp_path / "alexnet_lr_decay/mini/curves-part.png"  # of arms that were changed
    assert str(picture) in told
    assert picture.read_bytes().startswith(b"\x89PNG")
    for fingerprint in fingerprints(tmp_path).values():
        assert fingerprint[:16] in told

    assert reproduce.main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out, parse_constant=pytest.fail)
    assert [claim["verdict"] for claim in result["claims"]]
    assert {run["fingerprint"] for run in result["runs"]} == set(fingerprints(tmp_path).values())
    assert captured.err.count("holds this run") == 3

    for _ in range(2):
        assert reproduce.main([*words, "--fresh", "--arm", "decayed_rate"]) == 0
        told = capsys.readouterr().out
        assert "holds this run" not in told
        assert result["runs"][1]["fingerprint"][:16] in told


def test_several_runs_at_a_time_have_the_same_bits_and_end_together_when_interrupted(
    tmp_path, capsys
):
    words = [*WORDS, "intervals=15", "--logdir"]  # three arms
    interrupted = door(*words, str(tmp_path / "a"), "--jobs", "2")
    while len([*(tmp_path / "a").glob("*/mini/*/seed0/run.json")]) < 2:
        assert interrupted.poll() is None, interrupted.communicate()
        time.sleep(0.01)
    interrupted.send_signal(signal.SIGTERM)
    told, error = interrupted.communicate(timeout=60)
    assert (interrupted.returncode, error.strip().count("\n")) == (130, 0), error
    paths = [*(tmp_path / "a").rglob("run.json")]
    # those under way, and no other
    assert [run_record.load(path.parent).status for path in paths] == ["interrupted"] * 2
    for logdir, jobs in (("a", "2"), ("b", "1")):
        assert reproduce.main([*words, str(tmp_path / logdir), "--jobs", jobs]) == 0
        told, error = capsys.readouterr()
        assert ("3 runs, 2 at a time" in told) == (jobs == "2")
        assert "Claims and verdicts" in told
        assert "holds this run" not in told + error
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def test_the_workers_of_a_door_that_is_killed_end_too(tmp_path):
    words = [*WORDS, "intervals=10000", "--arm", "fixed_rate", "decayed_rate", "--jobs", "2"]
    killed = door(*words, "--logdir", str(tmp_path))
    (seed, *_) = record_directories(tmp_path, killed)
    wait_for(seed / "state" / "000001", killed)
    killed.kill()
    killed.communicate(timeout=60)  # its workers hold the other ends of its pipes


def test_a_worker_that_dies_ends_the_door_with_1_and_a_line(tmp_path, capsys):
    words = [*WORDS, "intervals=10000", "--arm", "fixed_rate", "decayed_rate", "--jobs", "2"]

    def kill_a_worker() -> None:
        while len({path.parent for path in tmp_path.rglob("state/*[1-9]*")}) < 2:
            time.sleep(0.01)
        multiprocessing.active_children()[0].kill()

    threading.Thread(target=kill_a_worker, daemon=True).start()
    assert reproduce.main([*words, "--logdir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error == "reproduce: a worker process died; run again to go on\n"
    assert not multiprocessing.active_children()
    for path in tmp_path.rglob("run.json"):
        assert run_record.load(path.parent).intervals >= 1


def test_without_determinism_a_run_says_so_and_is_not_mixed_with_others(tmp_path, capsys):
    words = [*WORDS, "intervals=1", "--arm", "decayed_rate", "--logdir", str(tmp_path)]
    process = door(*words, "--allow-nondeterministic")
    told, error = process.communicate()
    assert process.returncode == 0, error
    assert "NOT deterministic" in told
    (path,) = tmp_path.rglob("run.json")
    assert json.loads(path.read_text())["environment"]["deterministic"] is False
    assert reproduce.main(words) == 2
    assert "belongs to another run: environment" in capsys.readouterr().err
    assert reproduce.main([*words, "--allow-nondeterministic"]) == 2
    assert "start a new one" in capsys.readouterr().err


def test_partial_runs_are_marked_and_not_judged(tmp_path, capsys):
    words = [*WORDS, "--logdir", str(tmp_path), "--intervals", "1", "--arm", "fixed_rate"]
    assert reproduce.main(words) == 0
    told = capsys.readouterr().out
    assert told.count("INCONCLUSIVE") == CLAIMS
    assert "partial, 1 of 4 intervals" in told
    assert "REPRODUCED" not in told
    assert "REFUTED" not in told


def test_within_its_time_it_makes_what_it_can_and_the_same_command_goes_on(tmp_path, capsys):
    words = [*WORDS, "--logdir", str(tmp_path), "--arm", "fixed_rate", "decayed_rate", "--json"]
    for interval, jobs in ((1, "1"), (2, "2")):
        assert reproduce.main([*words, "--time-limit", "0.0001", "--jobs", jobs]) == 0
        captured = capsys.readouterr()
        told = json.loads(captured.out)
        (run,) = told["runs"]  # the other one is not begun
        assert (run["arm"], run["status"], run["intervals"]) == ("fixed_rate", "partial", interval)
        assert {claim["verdict"] for claim in told["claims"]} == {"INCONCLUSIVE"}
        assert told["left"] == 2
        assert "the time is over: 0 of 2 runs are made, 2 left; run again" in captured.err
    assert reproduce.main([*words, "--time-limit", "60"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["left"] == 0
    assert captured.err.count("going on after interval") == 1
    assert "all 2 runs are made" in captured.err
    assert len(fingerprints(tmp_path)) == 2


def test_a_change_that_takes_metrics_away_leaves_claims_unjudged_not_a_traceback(tmp_path, capsys):
    words = [*WORDS, "metrics=[]", "--arm", "decayed_rate", "--logdir", str(tmp_path)]
    assert reproduce.main(words) == 0
    assert "arms changed" in capsys.readouterr().out


def test_all_of_them_end_with_a_tally(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(catalog, "names", lambda: ["alexnet_default_init", "weights_or_biases"])
    monkeypatch.setattr(faces, "TRAIN", 64)
    monkeypatch.setattr(faces, "TEST", 64)
    words = ["--all", "--scale", "mini", "--data", "digits", "--logdir", str(tmp_path)]
    words += ["--jobs", "1"]  # other processes would draw all frames
    assert reproduce.main([*words, "--seed", "0", "--intervals", "1", "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert [result["experiment"] for result in told] == catalog.names()
    assert [data["name"] for result in told for data in result["datasets"]] == ["digits", "frames"]
    tally = captured.err.partition("All experiments:")[2]
    assert "alexnet_default_init" in tally
    assert "weights_or_biases" in tally


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_and_run_again_the_fingerprints_are_those_of_an_undisturbed_run(tmp_path, backend):
    words = [*WORDS, "intervals=20", "--arm", "decayed_rate", "--telemetry-every", "0", "--logdir"]
    disturbed = door(*words, str(tmp_path / "a"), backend=backend)
    (seed,) = record_directories(tmp_path / "a", disturbed)
    while max((int(path.name) for path in seed.glob("state/[0-9]*")), default=0) < 2:
        assert disturbed.poll() is None, disturbed.communicate()
        time.sleep(0.01)
    disturbed.kill()
    disturbed.communicate()
    assert disturbed.returncode == -signal.SIGKILL
    assert run_record.load(seed).status == "running"
    for logdir in ("a", "b"):
        process = door(*words, str(tmp_path / logdir), backend=backend)
        told, error = process.communicate()
        assert process.returncode == 0, error
        assert ("going on after interval" in told) == (logdir == "a")
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def record_directories(logdir: Path, process: subprocess.Popen) -> list[Path]:
    while not (found := list(logdir.glob("*/*/*/seed*"))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_with_130_and_a_second_process_is_refused(tmp_path, sent):
    words = [*WORDS, "intervals=10000", "--arm", "decayed_rate", "--logdir", str(tmp_path)]
    running = door(*words)
    (seed,) = record_directories(tmp_path, running)
    wait_for(seed / "state" / "000001", running)
    if sent == signal.SIGINT:
        second = door(*words)
        _, error = second.communicate()
        assert second.returncode == 2
        assert "in use by another process" in error
    running.send_signal(sent)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted" in error
    found = run_record.load(seed)
    assert found.status == "interrupted"
    assert found.intervals >= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interruption_while_the_backend_compiles_ends_with_130_too(tmp_path, backend):
    words = [*WORDS, "intervals=10000", "--arm", "decayed_rate", "--logdir", str(tmp_path)]
    running = door(*words, backend=backend)
    (seed,) = record_directories(tmp_path, running)
    wait_for(seed / "state" / "000000", running)
    time.sleep(0.5)
    running.send_signal(signal.SIGTERM)
    _, error = running.communicate(timeout=60)
    assert (running.returncode, error.strip().count("\n")) == (130, 0), error
