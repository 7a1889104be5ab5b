import numpy as np
import pytest

from experiments.verification.tensor_diff import (
    differing_names,
    distance,
    first_difference,
    first_differing_batch,
    is_random_state,
)


def test_the_first_index_that_differs():
    assert first_difference("abc", "abc") is None
    assert first_difference("abc", "abd") == 2
    assert first_difference("abc", "ab") == 2
    assert first_difference("", "a") == 0


def test_differing_digests_are_named_in_order_and_include_missing_ones():
    assert differing_names({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "0", "d": "4"}) == [
        "b",
        "c",
        "d",
    ]


def test_the_first_batch_whose_checksum_differs():
    assert first_differing_batch("0000000011111111", "0000000011111112") == 1
    assert first_differing_batch("00000000", "00000000") is None


@pytest.mark.parametrize(
    ("path", "random"),
    [
        ("fc1_dropout/seed_generator/seed_generator_state", True),
        ("generator/cpu", True),
        ("conv1/kernel", False),
    ],
)
def test_random_states_are_recognised(path, random):
    assert is_random_state(path) is random


def test_units_in_the_last_place_are_counted_across_zero():
    tiny = np.nextafter(np.float32(0), np.float32(1))
    a = np.array([1.0, 0.0, -tiny, 5.0], "float32")
    b = np.array([np.nextafter(np.float32(1), np.float32(2)), 0.0, tiny, 5.0], "float32")
    found = distance("w", a, b)
    assert (found.share, found.ulps, found.finite_in_one, found.elements) == (0.5, 2, 0, 4)
    assert str(found) == "w: 50 % of 4 elements differ, by at most 2 ULP"


def test_zeros_of_two_signs_differ_only_in_bits():
    found = distance("w", np.array([0.0], "float32"), np.array([-0.0], "float32"))
    assert (found.share, found.ulps) == (1.0, 0)


def test_elements_that_are_finite_in_only_one_are_counted_separately():
    nan, inf = np.nan, np.inf
    found = distance("w", np.array([nan, 1, inf], "float32"), np.array([nan, nan, 2], "float32"))
    assert (found.finite_in_one, found.ulps) == (2, 0)
    assert "finite in only one of the two: 2" in str(found)


def test_integers_are_compared_by_their_difference():
    found = distance("seed", np.array([7, 9], "uint32"), np.array([7, 12], "uint32"))
    assert (found.share, found.ulps) == (0.5, 3)
