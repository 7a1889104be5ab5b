"""The hand-written loops train the zoo's networks: the same logits, losses and steps."""

import importlib
import importlib.util

import numpy as np
import pytest

from experiments import catalog
from experiments.benchmark import SCALED
from experiments.benchmarks.competitors import METHODS
from experiments.benchmarks.task import SavedTask, save_task
from experiments.harness.model import build
from experiments.harness.model.variables import to_numpy
from experiments.harness.spec.overrides import resolve

TINY = {"batch_size": 8, "steps": 2, "test_examples": 20, "test_batch": 10}
ARMS = {  # no dropout: its masks are each library's own
    "alexnet": (
        "alexnet_lr_decay",
        "fixed_rate",
        {"network.width": 1 / 16, "network.dropout": 0.0, **SCALED},
    ),
    "mnist_cnn": ("constant_init", "perturbed_1e-4", {"network.kernel_initializer": "he_normal"}),
}
LOOPS = [method for method in METHODS if method.train.endswith("_loop:train")]


@pytest.fixture(scope="module", params=ARMS)
def task(request, tmp_path_factory):
    experiment, arm, overrides = ARMS[request.param]
    folder = tmp_path_factory.mktemp("task")
    tiny = resolve(catalog.load(experiment), arm, "mini", {**TINY, **overrides}).identity()
    save_task(tiny, str(folder))
    return SavedTask(tiny, "digits", str(folder)).load()


@pytest.fixture(scope="module")
def reference(task):
    """Return the zoo's logits, its loss and accuracy, and its weights after two steps."""
    model = build.build_compiled(task.arm)
    for variable in model.trainable_variables:
        variable.assign(task.weights[variable.path])
    images, _ = task.test_examples()
    logits = to_numpy(model(images))
    evaluated = model.evaluate(*task.test_examples(), task.arm.test_batch, 0)[:2]
    for step in range(task.arm.steps):
        model.train_on_batch(*task.dataset.train(task.batch_indices(step)))
    after = {v.path: to_numpy(v) for v in model.trainable_variables}
    return logits, evaluated, after


def test_there_are_loops_to_compare():
    assert len(LOOPS) == 3


@pytest.mark.parametrize("method", LOOPS, ids=lambda method: method.name)
def test_a_loop_trains_as_the_zoo_does(method, task, reference):
    for package in (*method.backends, *method.packages):
        pytest.importorskip(package)
    loop = importlib.import_module(method.train.partition(":")[0]).Loop(task)
    logits, evaluated, after = reference
    assert sum(value.size for value in loop.weights().values()) == sum(
        value.size for value in task.weights.values()
    )
    np.testing.assert_allclose(loop.logits(task.test_examples()[0]), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loop.evaluate(), evaluated, rtol=1e-4)
    for step in range(task.arm.steps):
        loop.step(step)
    loop.finish_steps()
    for name, value in loop.weights().items():
        moved = np.linalg.norm(after[name] - task.weights[name])
        assert moved > 0, "the steps changed nothing"
        # Adam amplifies gradients near 0, and PyTorch adds its epsilon elsewhere
        assert np.linalg.norm(value - after[name]) < 0.03 * moved, name
