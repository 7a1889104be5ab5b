"""The space of a search: which dimensions replace others, and when they are active."""

import pytest

from experiments import catalog
from experiments.harness.spec import Dimension
from experiments.harness.spec.search_space import (
    DEFAULT_SPACE,
    KERNEL,
    RATE,
    grid_points,
    merge,
    parse,
)

STD = f"{KERNEL}.stddev"


def merged_names(*texts: str) -> list[str]:
    return [dimension.name for dimension in merge(DEFAULT_SPACE, [*map(parse, texts)])]


def test_a_replacement_takes_the_place_and_the_condition_of_the_dimension_it_replaces():
    space = merge(DEFAULT_SPACE, [parse(f"{STD}+network.bias_initializer.value=log:1e-3:1e-1:2")])
    assert [dimension.name for dimension in space] == [KERNEL, STD, RATE]
    assert space[1].condition == DEFAULT_SPACE[1].condition
    assert space[1].points == (1e-3, 1e-1)
    for values in grid_points(space):
        assert (STD in values) == (values[KERNEL] == "TruncatedNormal")


def test_a_dimension_that_replaces_none_comes_last():
    assert merged_names("batch_size=[1, 2]") == [KERNEL, STD, RATE, "batch_size"]
    assert merged_names(f'{KERNEL}=["TruncatedNormal"]') == [KERNEL, STD, RATE]


def test_a_dimension_whose_condition_cannot_hold_is_left_out():
    assert merged_names(f'{KERNEL}=["HeNormal"]') == [KERNEL, RATE]
    assert merged_names(f'{KERNEL}=["HeNormal"]', f"{STD}=[0.1]") == [KERNEL, RATE]


def test_the_serialised_keys_and_their_order_are_fixed():
    dimension = Dimension(("a.b", "c"), (0.1, [2]), 0.1, 1.0, True, condition=(KERNEL, "HeNormal"))
    assert list(dimension.to_json().items()) == [
        ("paths", ["a.b", "c"]),
        ("points", [0.1, [2]]),
        ("low", 0.1),
        ("high", 1.0),
        ("log", True),
        ("when", [KERNEL, "HeNormal"]),
    ]


@pytest.mark.parametrize("name", catalog.names())
def test_every_experiments_space_has_conditions_that_can_hold(name):
    space = catalog.load(name).space
    assert merge(space, []) == space
