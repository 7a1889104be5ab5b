"""The maps of a search show every trial, whatever the space."""

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from experiments.harness.spec import Dimension
from experiments.harness.spec.search_space import DEFAULT_SPACE, KERNEL, RATE, merge, parse
from experiments.tuning import maps, plots
from experiments.tuning.trial import Outcome
from tests.helpers import fake_search

STD = f"{KERNEL}.stddev"


def count_drawn(search, trials) -> tuple[int, int]:
    """Return the numbers of points and of cells in the map."""
    axis, second = Figure().subplots(1, 2)
    maps.draw_maps([axis, second], search, trials)
    crosses = [line for line in axis.lines if line.get_marker() == "x"]
    for line in crosses:
        assert len(line.get_xdata()) == 1
    return len(axis.collections) + len(crosses), len(axis.texts) * (not axis.collections)


@pytest.mark.parametrize(
    "space",
    [
        DEFAULT_SPACE,
        merge(DEFAULT_SPACE, [parse(f"{RATE}=[1e-4, 1e-3, 1e-2]")]),
        (*DEFAULT_SPACE[:2], Dimension((RATE,), (1e-4, 1e-2))),
        (DEFAULT_SPACE[2], *DEFAULT_SPACE[:2]),
        (DEFAULT_SPACE[0], DEFAULT_SPACE[2]),
    ],
    ids=["default", "list of rates", "two rates", "condition last", "one range"],
)
def test_every_trial_of_a_random_search_is_a_point(space):
    search = fake_search.make_search("random", trials=24, space=space)
    trials = fake_search.run(search)
    points, _ = count_drawn(search, trials)
    assert points == len(trials) == 24


def test_a_cell_shows_the_latest_trial_of_an_arm():
    rates = Dimension((RATE,), tuple(k / 1000 for k in range(1, 15)))
    search = fake_search.make_search("hyperband", space=(rates,))
    trials = fake_search.run(search)
    promoted = {n for n, trial in trials.items() if trial.values.get("tuner/trial_id")}
    assert promoted
    distinct = {trial.values[RATE] for trial in trials.values()}
    assert count_drawn(search, trials) == (0, len(distinct))
    assert promoted & set(maps.latest_of_each_arm(trials))


def test_values_may_be_lists_and_a_condition_may_come_last(tmp_path):
    widths = Dimension(("network.widths",), ([2, 2, 4], [4, 4, 8]))
    rate = Dimension((RATE,), (1e-3,))
    std = merge(DEFAULT_SPACE[:2], [parse(f"{STD}=[0.01, 0.1]")])
    search = fake_search.make_search("grid", space=(rate, widths, *std))
    trials = fake_search.run(search)
    assert count_drawn(search, trials) == (0, len(trials))
    plots.draw(search, trials, tmp_path / "map.png")
    assert imread(tmp_path / "map.png").std() > 0.05


def test_the_colours_start_at_the_least_value_even_if_it_is_0():
    rates = Dimension((RATE,), (1e-3, 1e-2))
    search = fake_search.make_search("grid", space=(rates,))

    def train(values):
        final = 0.0 if values[RATE] == 1e-3 else 1.0
        return Outcome(final, [[final] * 9], [None], ["f"])

    trials = fake_search.run(search, train)
    colours = maps.draw_maps(Figure().subplots(1, 2), search, trials)
    assert (colours.norm.vmin, colours.norm.vmax) == (0.0, 1.0)
