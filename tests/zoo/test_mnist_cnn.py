from collections.abc import Sequence
from itertools import pairwise

import keras
import numpy as np
import pytest

from experiments.harness.model.variables import to_numpy
from zoo import mnist_cnn
from zoo.optimizers import AdamOfCopies

SIZES = (3, 4, 5)  # units of a group in conv1, conv2 and fc1


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, 28, 28, 1), dtype="float32")


def wide_and_twin(groups: Sequence[int]) -> tuple[keras.Model, keras.Model]:
    """Return a network whose units form groups of equal ones, and its twin, with random weights.

    The twin has one unit for each group: of 3 units in conv1, 4 in conv2 and 5 in fc1.
    """
    wide = mnist_cnn.build(widths=[n * size for n, size in zip(groups, SIZES, strict=True)])
    twin = mnist_cnn.build(widths=groups, stands_for=SIZES)
    rng = np.random.default_rng(0)
    layers = ("conv1", "conv2", "fc1", "output")
    for layer, (inputs, units) in zip(layers, pairwise((1, *SIZES, 1)), strict=True):
        kernel, bias = (
            rng.normal(size=weight.shape).astype("float32")
            for weight in twin.get_layer(layer).weights
        )
        twin.get_layer(layer).set_weights([kernel, bias])
        if layer == "fc1":  # its inputs are 7x7 places of conv2's channels
            kernel = kernel.reshape(49, groups[1], -1)
        equal = kernel.repeat(inputs, axis=-2).repeat(units, axis=-1)
        shape = wide.get_layer(layer).kernel.shape
        wide.get_layer(layer).set_weights([equal.reshape(shape), bias.repeat(units)])
    return wide, twin


@pytest.mark.parametrize("groups", [(1, 1, 1), (1, 1, 2), (2, 3, 2)])
def test_a_twin_is_the_same_function_as_a_wide_network_of_groups_of_equal_units(groups):
    wide, twin = wide_and_twin(groups)
    x = images(4)
    np.testing.assert_allclose(wide.predict(x, verbose=0), twin.predict(x, verbose=0), rtol=1e-4)


@pytest.mark.parametrize("groups", [(1, 1, 1), (1, 1, 2), (2, 3, 2)])
def test_adam_of_copies_moves_the_twin_as_adam_moves_the_wide_network(groups):
    wide, twin = wide_and_twin(groups)
    adam = {"learning_rate": 0.01, "epsilon": 0.3}  # as large as the gradients
    copies = {"conv1/kernel": 3, "conv1/bias": 3, "conv2/kernel": 12, "conv2/bias": 4}
    copies |= {"fc1/kernel": 20, "fc1/bias": 5, "output/kernel": 5}
    before = twin.get_weights()

    def after_two_steps(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> np.ndarray:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
        model.compile(again, loss)
        model.fit(images(4), np.arange(4), batch_size=4, epochs=2, shuffle=False, verbose=0)
        return model.predict(images(4), verbose=0)

    expected = after_two_steps(wide, keras.optimizers.Adam(**adam))
    np.testing.assert_allclose(
        after_two_steps(twin, AdamOfCopies(copies, **adam)), expected, rtol=1e-3
    )
    twin.set_weights(before)
    otherwise = after_two_steps(twin, keras.optimizers.Adam(**adam))
    assert np.abs(otherwise - expected).max() > 0.01 * np.abs(expected).max()


def test_rounding_noise_is_of_the_size_of_a_rounding_and_only_while_training():
    quiet, noisy = (mnist_cnn.build(widths=(2, 2, 4), rounding_noise=n) for n in (0.0, 1e-7))
    noisy.set_weights(quiet.get_weights())
    x = images(8)
    still = to_numpy(quiet(x, training=True))
    np.testing.assert_array_equal(noisy.predict(x, verbose=0), quiet.predict(x, verbose=0))
    moved = to_numpy(noisy(x, training=True))
    assert not np.array_equal(moved, still)
    np.testing.assert_allclose(moved, still, rtol=1e-4, atol=1e-6)
