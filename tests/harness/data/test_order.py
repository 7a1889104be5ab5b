from itertools import islice

import numpy as np
import pytest

from experiments.harness.data import dataset, mnist, order


@pytest.fixture(scope="module")
def digits() -> dataset.Dataset:
    return mnist.load("digits")[0]


def test_each_epoch_is_a_permutation_and_batches_cross_its_end():
    n, batch = 10, 4
    indices = np.concatenate([order.batch_positions(3, step, batch, n) for step in range(5)])
    for epoch in (indices[:10], indices[10:]):
        assert sorted(epoch) == list(range(10))
    assert list(indices[:10]) != list(indices[10:])


def test_order_depends_only_on_seed_and_step():
    forward = [order.batch_positions(1, step, 7, 100).tolist() for step in range(40)]
    backward = [order.batch_positions(1, step, 7, 100).tolist() for step in reversed(range(40))]
    assert forward == backward[::-1]
    assert forward != [order.batch_positions(2, step, 7, 100).tolist() for step in range(40)]


def test_order_of_a_seed_never_changes():
    assert order.batch_positions(0, 5, 5, 100).tolist() == [51, 16, 53, 22, 76]


def test_batches_from_a_later_step_are_the_same(digits):
    first, second = order.batches(digits, 0, 5), order.batches(digits, 0, 5, first_step=3)
    for _ in range(3):
        next(first)
    (x, y), (later_x, later_y) = next(first), next(second)
    np.testing.assert_array_equal(x, later_x)
    np.testing.assert_array_equal(y, later_y)
    assert x.shape == (5, 28, 28, 1)
    assert x.dtype == np.float32
    assert 0 <= x.min() < x.max() <= 1


def test_held_out_examples_are_never_trained_on_and_are_at_most_a_twelfth(digits):
    assert digits.held_out_count(5_000) == len(digits.x_train) - round(
        11 / 12 * len(digits.x_train)
    )
    assert digits.held_out_count(7) == 7
    few = dataset.Dataset("few", digits.x_train[:24], digits.y_train[:24], *digits.test(slice(1)))
    two_epochs = islice(order.batches(few, 0, 11, held_out=9), 4)
    trained_on = np.concatenate([x for x, _ in two_epochs])
    for image in dataset.scale_pixels(few.x_train[:2]):
        assert not (trained_on == image).all(axis=(1, 2, 3)).any()
    assert len(np.unique(trained_on, axis=0)) == 22
