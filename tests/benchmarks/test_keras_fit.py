"""What a bare fit is fed with."""

from dataclasses import replace

import numpy as np
import pytest

from experiments import catalog
from experiments.benchmarks.baselines import keras_fit
from experiments.benchmarks.task import Task
from experiments.harness.data import mnist

ARM = catalog.load("alexnet_lr_decay").at["mini"]["fixed_rate"]


@pytest.mark.parametrize(("batch_size", "whole"), [(10, 900), (100, 4500)])
def test_the_examples_are_whole_intervals(batch_size, whole, tmp_path):
    arm = replace(ARM, batch_size=batch_size, steps=45, held_out=5)
    task = Task(arm, mnist.load("digits")[0], {}, tmp_path)
    chosen = keras_fit._whole(task)
    there = len(task.dataset.x_train) - 5
    assert len(chosen) == whole
    assert chosen[:3].tolist() == [5, 6, 7]
    assert len(np.unique(chosen)) == min(whole, there)
