"""Networks with a run's weights, and with other inputs and outputs than the documents'."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import zoo
from experiments.harness.data import mnist
from experiments.harness.model.variables import to_numpy
from experiments.harness.runtime import determinism
from experiments.harness.storage import run_directory
from experiments.harness.study import run_one
from experiments.harness.training.options import TrainOptions
from tests.helpers.corrupted_runs import plan_run
from tests.zoo.test_zoo import SMALL
from zoo import weights

SHAPES = {"alexnet": (40, 30, 3), "deep_cnn": (16, 12, 3), "mnist_cnn": (20, 12, 3)}
SHAPES["valence_cnn"] = (100, 90, 1)


@pytest.mark.parametrize("name", zoo.names())
def test_every_network_takes_any_input_shape_and_number_of_classes(name):
    model = zoo.build(name, **SMALL[name], input_shape=SHAPES[name], classes=7)
    assert (model.input_shape, model.output_shape) == ((None, *SHAPES[name]), (None, 7))
    card = zoo.card(name)
    documented = {"input_shape": card.input_shape, "classes": int(card.output.split()[0])}
    same = zoo.build(name, **SMALL[name], **documented)
    assert same.to_json() == zoo.build(name, **SMALL[name]).to_json()


def test_names_are_filtered_and_cards_name_what_was_trained():
    assert zoo.names("*cnn") == ["deep_cnn", "mnist_cnn", "valence_cnn"]
    assert zoo.names("alex*", trained=True) == ["alexnet"]
    assert "constant_init/plain_log" in zoo.card("mnist_cnn").trained
    assert not zoo.names("resnet*")


@pytest.mark.parametrize(
    ("experiment", "arm", "command", "environment"),
    [
        ("alexnet_default_init", "stable_loss", "python -m experiments.reproduce "
         "alexnet_default_init --arm stable_loss --seed 0 --scale mini --portable;",
         "jax 0.10.2, portable-1"),
        ("alexnet_grouped", "as_documented", "KERAS_BACKEND=tensorflow python -m "
         "experiments.reproduce alexnet_grouped --arm as_documented --seed 0 --scale mini;",
         "tensorflow 2.21.0, cpu, 2 threads"),
    ],
)  # fmt: skip
def test_weights_that_are_not_there_have_a_recipe(
    tmp_path, monkeypatch, experiment, arm, command, environment
):
    monkeypatch.chdir(tmp_path)
    record = json.loads((weights.RECORDS / f"{experiment}-mini.json").read_text())
    (run,) = [r for r in record["runs"] if (r["arm"], r["seed"]) == (arm, 0)]
    with pytest.raises(FileNotFoundError) as refused:
        zoo.build("alexnet", weights=f"{experiment}/{arm}")
    message = str(refused.value)
    assert "\n" not in message
    assert f"train them with: {command}" in message
    assert message.endswith(f"fingerprint {run['fingerprint']} on {environment}")
    with pytest.raises(FileNotFoundError, match="no recorded arm; arms of alexnet: alexnet_batch"):
        zoo.build("alexnet", weights="alexnet_lr_decay/absent")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a complete run of a tiny mnist_cnn, and its log directory."""
    logs, digits = tmp_path_factory.mktemp("logs"), mnist.load("digits")[0]
    spec = plan_run(digits, determinism.environment(), intervals=1)
    run = run_one.train_or_load(spec, logs, digits, TrainOptions(telemetry_every=0))
    return run, run_directory.directory_of(spec, logs)


def test_a_runs_directory_is_weights(run, tmp_path):
    trained, directory = run
    model = zoo.build("mnist_cnn", weights=directory)
    saved = keras.saving.load_model(directory / "model.keras")
    for variable, other in zip(model.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(variable), to_numpy(other))
    assert trained.fingerprint
    with pytest.raises(ValueError, match="is a run of mnist_cnn, not of deep_cnn"):
        zoo.build("deep_cnn", weights=directory)
    with pytest.raises(ValueError, match=r"do not fit: output/kernel is .* there, .* here"):
        zoo.build("mnist_cnn", weights=directory, classes=7)
    (tmp_path / "run.json").write_text((directory / "run.json").read_text())
    with pytest.raises(FileNotFoundError, match=r"has no model\.keras"):
        zoo.build("mnist_cnn", weights=tmp_path)


def test_a_recorded_arms_weights_are_found_in_logs(run, tmp_path, monkeypatch):
    """By either of its names, unless the data or, in the same environment, the bits differ."""
    trained, directory = run
    monkeypatch.chdir(tmp_path)
    payload = json.loads((directory / "run.json").read_text())
    recorded = {
        "dataset": payload["dataset"],
        "names": ("mine/arm", "other/alias"), "experiment": "mine", "arm": "arm", "scale": "mini",
        "seed": 0, "class_name": "mnist_cnn", "fingerprint": trained.fingerprint,
        "environment": payload["environment"], "directory": "mine/mini/arm/seed0",
    }  # fmt: skip
    monkeypatch.setattr(weights, "_runs", lambda: (recorded,))
    Path("logs/mine/mini/arm").mkdir(parents=True)
    Path("logs/mine/mini/arm/seed0").symlink_to(directory)
    for name in recorded["names"]:
        assert len(zoo.build("mnist_cnn", weights=name).weights)
    recorded["dataset"] = {"name": "mnist5k", "sha256": "0", "stand_in": True}
    with pytest.raises(FileNotFoundError, match=r"train them with: .* --data mnist5k;"):
        zoo.build("mnist_cnn", weights="mine/arm")
    recorded |= {"dataset": payload["dataset"], "fingerprint": "0" * 64}
    with pytest.raises(FileNotFoundError, match="train them with"):
        zoo.build("mnist_cnn", weights="mine/arm")
