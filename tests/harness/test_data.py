from itertools import islice

import numpy as np
import pytest

from experiments.harness import data, mnist


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return mnist.load("digits")[0]


def test_the_order_is_a_permutation_an_epoch_and_goes_on_across_its_end():
    n, batch = 10, 4
    seen = np.concatenate([data.order(3, step, batch, n) for step in range(5)])
    for epoch in (seen[:10], seen[10:]):
        assert sorted(epoch) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_the_order_depends_on_seed_and_step_alone():
    one = [data.order(1, step, 7, 100).tolist() for step in range(40)]
    again = [data.order(1, step, 7, 100).tolist() for step in reversed(range(40))]
    assert one == again[::-1]
    assert one != [data.order(2, step, 7, 100).tolist() for step in range(40)]


def test_the_order_of_a_seed_never_changes():
    assert data.order(0, 5, 5, 100).tolist() == [51, 16, 53, 22, 76]


def test_batches_from_a_later_step_are_the_same_ones(digits):
    first, second = data.batches(digits, 0, 5), data.batches(digits, 0, 5, first_step=3)
    for _ in range(3):
        next(first)
    (x, y), (later_x, later_y) = next(first), next(second)
    np.testing.assert_array_equal(x, later_x)
    np.testing.assert_array_equal(y, later_y)
    assert x.shape == (5, 28, 28, 1)
    assert x.dtype == np.float32
    assert 0 <= x.min() < x.max() <= 1


def test_held_out_examples_are_never_trained_on_and_a_stand_in_keeps_a_twelfth_out(digits):
    assert digits.held_out(5_000) == len(digits.x_train) - round(11 / 12 * len(digits.x_train))
    assert digits.held_out(7) == 7
    few = data.Dataset("few", digits.x_train[:24], digits.y_train[:24], *digits.test(slice(1)))
    two_epochs = islice(data.batches(few, 0, 11, held_out=9), 4)
    seen = np.concatenate([x for x, _ in two_epochs])
    for image in data.images(few.x_train[:2]):
        assert not (seen == image).all(axis=(1, 2, 3)).any()
    assert len(np.unique(seen, axis=0)) == 22
