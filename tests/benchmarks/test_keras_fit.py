"""The examples that a bare ``fit`` trains on."""

from dataclasses import replace

import numpy as np
import pytest

from experiments import catalog
from experiments.benchmarks.baselines import keras_fit
from experiments.benchmarks.task import Task
from experiments.harness.data import mnist

ARM = catalog.load("alexnet_lr_decay").at["mini"]["fixed_rate"]


@pytest.mark.parametrize(("batch_size", "count"), [(10, 900), (100, 4500)])
def test_the_examples_fill_whole_rounds(batch_size, count, tmp_path):
    arm = replace(ARM, batch_size=batch_size, steps=45, held_out=5)
    task = Task(arm, mnist.load("digits")[0], {}, tmp_path)
    indices = keras_fit.whole_rounds(task)
    available = len(task.dataset.x_train) - 5
    assert len(indices) == count
    assert indices[:3].tolist() == [5, 6, 7]
    assert len(np.unique(indices)) == min(count, available)
