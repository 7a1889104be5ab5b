"""The benchmark command: two ways for real, with a very small network."""

import json
import os

import pytest

from experiments import benchmark
from experiments.benchmarks import competitors, flops, runner, startup_time
from experiments.harness.runtime import determinism, subprocesses
from experiments.harness.spec import UserError
from experiments.harness.spec.overrides import override
from tests.helpers.corrupted_runs import SMALL_CNN
from tests.helpers.shared_processes import call_here

TINY = SMALL_CNN | {
    "batch_size": 4,
    "steps": 2,
    "test_examples": 10,
    "test_batch": 10,
}
BACKEND = os.environ["KERAS_BACKEND"]
STARTUP = {"list": 0.1, "harness": 3.0, "fit": 2.0}


@pytest.fixture
def tiny(monkeypatch):
    """Shrink the arm, and replace the slow measurements that are tested elsewhere."""
    for name, value in runner.SHARED_MEMORY.items():
        monkeypatch.setenv(name, value)
    resolve_arm = benchmark.resolve_arm
    monkeypatch.setattr(benchmark, "resolve_arm", lambda name: override(resolve_arm(name), TINY))
    monkeypatch.setattr(startup_time, "measure", lambda *_: STARTUP)
    machine = {"rate": 1e9, "environment": determinism.environment()}
    call = subprocesses.call

    def fake_call(function, *args, **options):
        if function == runner.MATRIX_RATE:
            return machine
        here = function == runner.SAVE_TASK
        return (call_here if here else call)(function, *args, **options)

    monkeypatch.setattr(subprocesses, "call", fake_call)


@pytest.mark.usefixtures("tiny")
def test_the_harness_and_a_bare_fit_are_timed(capsys):
    argv = ["--networks", "alexnet-mini", "--ways", "harness", "fit", "--backends", BACKEND]
    assert benchmark.main([*argv, "--rounds", "2", "--data", "digits", "--json"]) == 0
    captured = capsys.readouterr()
    payload = json.loads(captured.out)
    network, name = payload["networks"]["alexnet-mini"], f"harness {BACKEND}"
    assert (network["steps"], network["batch_size"]) == (2, 4)
    assert network["parameters"] > 1_000
    assert [*network["seconds"]] == [name, f"fit {BACKEND}"]
    for seconds in network["seconds"].values():
        assert len(seconds["steps"]) == 2
        assert all(0 < steps < whole for steps, whole in zip(*seconds.values(), strict=True))
    assert network["memory"][name]["host"] > 50_000_000
    assert (payload["data"]["name"], payload["data"]["stand_in"]) == ("digits", True)
    assert payload["startup"] == {"backend": BACKEND, **STARTUP}
    assert "round 2 of 2" in captured.err
    assert "images/s" in captured.err


def test_the_arms_are_the_documents_own():
    alexnet, cnn = benchmark.resolve_arm("alexnet"), benchmark.resolve_arm("mnist-cnn")
    assert (alexnet.batch_size, alexnet.network["config"]["image_size"]) == (200, 227)
    assert cnn.batch_size == 50


def test_operations_match_a_count_by_hand():
    import keras

    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(4, 3),  # 4 x 4 places
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    convolution, dense = 2 * 3 * 3 * 1 * 4 * 16, 2 * 64 * 10
    assert flops.step_flops(model) == 2 * convolution + 3 * dense


def test_ways_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(
        competitors.importlib.util, "find_spec", lambda name: name in ("jax", "tensorflow") or None
    )
    available, left_out = competitors.select_competitors([], [])
    assert [competitor.name for competitor in available] == [
        *("harness tensorflow", "harness jax", "portable", "fit tensorflow", "fit jax", "jax"),
    ]
    assert left_out == [
        "harness torch: torch is not installed",
        "fit torch: torch is not installed",
        "documents: cv2 is not installed",
        "torch: torch is not installed",
    ]
    with pytest.raises(UserError, match="none of these ways can run here: torch: torch is not"):
        competitors.select_competitors(["torch"], [])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--ways", "fits"], "unknown way 'fits'; did you mean 'fit'?"),
        (["--backends", "numpy"], "unknown backend 'numpy'"),
        (["--ways", "torch", "--backends", "jax"], "none of these ways runs on these backends"),
    ],
)
def test_bad_use_is_reported_in_one_line(argv, message, capsys):
    assert benchmark.main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
