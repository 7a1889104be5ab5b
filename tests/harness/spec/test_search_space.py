"""The space of a search: what replaces what, and what is active when."""

from experiments.harness.spec.search_space import (
    DEFAULT_SPACE,
    KERNEL,
    RATE,
    grid_points,
    merge,
    parse,
)

STD = f"{KERNEL}.stddev"


def names(*told: str) -> list[str]:
    return [d.name for d in merge(DEFAULT_SPACE, [*map(parse, told)])]


def test_what_replaces_a_dimension_takes_its_place_and_its_condition():
    space = merge(DEFAULT_SPACE, [parse(f"{STD}+network.bias_initializer.value=log:1e-3:1e-1:2")])
    assert [d.name for d in space] == [KERNEL, STD, RATE]
    assert space[1].when == DEFAULT_SPACE[1].when
    assert space[1].points == (1e-3, 1e-1)
    for values in grid_points(space):
        assert (STD in values) == (values[KERNEL] == "TruncatedNormal")


def test_what_replaces_nothing_comes_after_all():
    assert names("batch_size=[1, 2]") == [KERNEL, STD, RATE, "batch_size"]
    assert names(f"{KERNEL}=['TruncatedNormal']".replace("'", '"')) == [KERNEL, STD, RATE]


def test_what_no_other_leads_to_is_left_out():
    assert names(f'{KERNEL}=["HeNormal"]') == [KERNEL, RATE]
    assert names(f'{KERNEL}=["HeNormal"]', f"{STD}=[0.1]") == [KERNEL, RATE]
