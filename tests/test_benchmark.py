"""The benchmark's door: one way for real, with a network so small that it is soon done."""

import json
import os

import pytest

from experiments import benchmark
from experiments.benchmarks import competitors, flops, runner, startup_time
from experiments.harness.spec import UserError
from experiments.harness.spec.overrides import override
from tests.helpers.environment import ENVIRONMENT

TINY = {
    "network.width": 1 / 16,
    "batch_size": 4,
    "steps": 2,
    "test_examples": 10,
    "test_batch": 10,
}
BACKEND = os.environ["KERAS_BACKEND"]
STARTS = {"list": 0.1, "harness": 3.0, "fit": 2.0}


@pytest.fixture
def tiny(monkeypatch):
    """Make the arm small, and leave out what takes long and is tested elsewhere."""
    for name, value in runner.SHARED.items():
        monkeypatch.setenv(name, value)
    trained = benchmark.trained
    monkeypatch.setattr(benchmark, "trained", lambda name: override(trained(name), TINY))
    monkeypatch.setattr(startup_time, "seconds", lambda *_: STARTS)
    found = {"rate": 1e9, "environment": ENVIRONMENT}
    call = runner.elsewhere.call

    def quick(function, *words, **options):
        return found if function == runner.MATRIX_RATE else call(function, *words, **options)

    monkeypatch.setattr(runner.elsewhere, "call", quick)


@pytest.mark.usefixtures("tiny")
def test_the_harness_is_timed_as_a_user_runs_it_and_keras_as_it_is(capsys):
    words = ["--networks", "alexnet-mini", "--ways", "harness", "fit", "--backends", BACKEND]
    assert benchmark.main([*words, "--rounds", "2", "--data", "digits", "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    network, name = told["networks"]["alexnet-mini"], f"harness {BACKEND}"
    assert (network["steps"], network["batch_size"]) == (2, 4)
    assert network["parameters"] > 1_000
    assert [*network["seconds"]] == [name, f"fit {BACKEND}"]
    for seconds in network["seconds"].values():
        assert len(seconds["steps"]) == 2
        assert all(0 < steps < whole for steps, whole in zip(*seconds.values(), strict=True))
    assert network["memory"][name]["host"] > 50_000_000
    assert (told["data"]["name"], told["data"]["stand_in"]) == ("digits", True)
    assert told["startup"] == {"backend": BACKEND, **STARTS}
    assert "round 2 of 2" in captured.err
    assert "images/s" in captured.err


def test_the_arms_are_the_documents_own():
    alexnet, cnn = benchmark.trained("alexnet"), benchmark.trained("mnist-cnn")
    assert (alexnet.batch_size, alexnet.network["config"]["image_size"]) == (200, 227)
    assert cnn.batch_size == 50


def test_operations_are_counted_by_hand():
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


def test_what_is_not_installed_is_told_and_left_out(monkeypatch):
    monkeypatch.setattr(
        competitors.importlib.util, "find_spec", lambda name: name in ("jax", "tensorflow") or None
    )
    here, left = competitors.chosen([], [])
    assert [peer.name for peer in here] == [
        *("harness tensorflow", "harness jax", "fit tensorflow", "fit jax", "jax"),
    ]
    assert left == [
        "harness torch: torch is not installed",
        "fit torch: torch is not installed",
        "documents: cv2 is not installed",
        "torch: torch is not installed",
    ]
    with pytest.raises(UserError, match="nothing to compare is installed: torch: torch"):
        competitors.chosen(["torch"], [])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--ways", "fits"], "there is no 'fits'; did you mean 'fit'?"),
        (["--backends", "numpy"], "there is no 'numpy'"),
        (["--ways", "torch", "--backends", "jax"], "no way of these is on these backends"),
    ],
)
def test_bad_use_is_told_in_a_line(words, told, capsys):
    assert benchmark.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
