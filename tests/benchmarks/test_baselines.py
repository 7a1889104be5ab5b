"""The hand-written loops train the zoo's networks: the same logits, losses and steps."""

import importlib
import importlib.util

import keras
import numpy as np
import pytest

from experiments import catalog
from experiments.benchmarks import task
from experiments.benchmarks.competitors import METHODS
from experiments.harness.model import build
from experiments.harness.spec.overrides import resolve

TINY = {"batch_size": 8, "steps": 2, "test_examples": 20, "test_batch": 10}
ARMS = {  # no dropout: its masks are each library's own
    "alexnet": (
        "alexnet_lr_decay",
        "fixed_rate",
        {"network.width": 1 / 16, "network.dropout": 0.0},
    ),
    "mnist_cnn": ("constant_init", "perturbed_1e-4", {"network.kernel_initializer": "he_normal"}),
}
LOOPS = [way for way in METHODS if way.train.endswith("_loop:train")]


@pytest.fixture(scope="module", params=ARMS)
def given(request, tmp_path_factory):
    experiment, arm, changes = ARMS[request.param]
    folder = tmp_path_factory.mktemp("task")
    told = resolve(catalog.load(experiment), arm, "mini", {**TINY, **changes}).identity()
    task.save_task(told, str(folder))
    return task.load_task(told, "digits", str(folder))


@pytest.fixture(scope="module")
def reference(given):
    """Return the zoo's logits, its loss and accuracy, and its weights after each of two steps."""
    model = build.build_compiled(given.arm)
    for variable in model.trainable_variables:
        variable.assign(given.weights[variable.path])
    images, _ = given.test()
    logits = keras.ops.convert_to_numpy(model(images))
    evaluated = model.evaluate(*given.test(), given.arm.test_batch, 0)[:2]
    for step in range(given.arm.steps):
        model.train_on_batch(*given.dataset.train(given.indices(step)))
    after = {v.path: keras.ops.convert_to_numpy(v) for v in model.trainable_variables}
    return logits, evaluated, after


def test_there_are_loops_to_compare():
    assert len(LOOPS) == 3


@pytest.mark.parametrize("way", LOOPS, ids=lambda way: way.name)
def test_a_loop_does_what_the_zoo_does(way, given, reference):
    for module in (*way.backends, *way.needs):
        pytest.importorskip(module)
    loop = importlib.import_module(way.train.partition(":")[0]).Loop(given)
    logits, evaluated, after = reference
    assert sum(value.size for value in loop.weights().values()) == sum(
        value.size for value in given.weights.values()
    )
    np.testing.assert_allclose(loop.logits(given.test()[0]), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loop.evaluate(), evaluated, rtol=1e-4)
    for step in range(given.arm.steps):
        loop.step(step)
    loop.trained()
    for name, value in loop.weights().items():
        moved = np.linalg.norm(after[name] - given.weights[name])
        assert moved > 0, "the comparison would say nothing"
        # Adam makes much of a gradient near 0, and PyTorch's has its epsilon in another place
        assert np.linalg.norm(value - after[name]) < 0.03 * moved, name
