"""What every network of the zoo must satisfy."""

import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest

import zoo
from experiments.harness.model.variables import to_numpy
from experiments.harness.runtime import backends

OTHERS = [
    name for name in backends.PACKAGES if find_spec(name) and name != os.environ["KERAS_BACKEND"]
]
READING = str(Path(__file__).parents[1] / "harness" / "model" / "test_variables.py")
SMALL = {  # options that make a network quick to train, for those that are not
    "alexnet": {"image_size": 67, "width": 1 / 16, "forward_gain": True},
    "deep_cnn": {"depth": 3, "width": 8, "style": "skip"},
    "mnist_cnn": {"widths": (4, 8, 16), "stands_for": (2, 1, 1), "dropout": 0.5},
    "valence_cnn": {"width": 1 / 16},
}


def small(name: str) -> keras.Model:
    return zoo.build(name, **SMALL.get(name, {}))


def inputs(model: keras.Model, count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, *model.input_shape[1:]), dtype="float32")


def test_there_are_networks_and_importing_zoo_does_not_import_keras():
    code = "import sys, zoo; assert zoo.names(); assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", zoo.names())
def test_every_card_matches_its_network(name):
    card, model = zoo.card(name), zoo.build(name)
    assert model.input_shape[1:] == card.input_shape
    assert f"{model.output_shape[-1]} " in card.output
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == card.parameters
    layers = [layer for layer in model.layers if getattr(layer, "kernel", None) is not None]
    counts = [math.prod(each.kernel.shape) * math.prod(each.output.shape[1:-1]) for each in layers]
    assert 2 * sum(counts) == card.flops
    assert card.source
    keras.backend.clear_session()


@pytest.mark.parametrize("name", zoo.names())
def test_every_network_trains_a_step(name):
    model = small(name)
    before = [to_numpy(v) for v in model.trainable_variables]
    model.compile(optimizer="sgd", loss="mse")
    loss = model.train_on_batch(inputs(model, 4), np.ones((4, *model.output_shape[1:])))
    assert np.isfinite(loss)
    after = [to_numpy(v) for v in model.trainable_variables]
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", zoo.names())
def test_every_network_round_trips_through_a_keras_file(tmp_path, name):
    model = small(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for fresh, old in zip(loaded.variables, model.variables, strict=True):
        fresh.assign(to_numpy(old))  # the file leaves dropout's seeds out
    outputs = []
    for one in (loaded, model):
        keras.utils.set_random_seed(0)  # PyTorch's dropout draws from the global generator
        outputs.append(one.predict(inputs(model, 4), verbose=0))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mnist_cnn", {"widths": (1, 2)}),
        ("mnist_cnn", {"stands_for": (0, 1, 1)}),
        ("deep_cnn", {"depth": 0}),
        ("deep_cnn", {"style": "wavy"}),
        ("valence_cnn", {"width": 0}),
    ],
)
def test_an_option_out_of_range_is_refused(name, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        zoo.build(name, **options)


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
def test_every_network_trains_and_round_trips_on_every_installed_backend(backend):
    tests = [test_every_network_trains_a_step, test_every_network_round_trips_through_a_keras_file]
    nodes = [f"{__file__}::{test.__name__}" for test in tests]
    completed = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *nodes, READING],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stdout
    assert "skipped" not in completed.stdout


def test_an_unknown_name_is_reported_with_the_known_ones():
    with pytest.raises(ValueError, match="alexnet"):
        zoo.build("alexnot")
