"""The map of a search shows every trial, whatever the space."""

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from experiments.harness.spec import Dimension
from experiments.harness.spec.search_space import DEFAULT_SPACE, KERNEL, RATE, merge, parse
from experiments.tuning import plots
from tests.helpers import fake_search

STD = f"{KERNEL}.stddev"


def drawn(told, trials) -> tuple[int, int]:
    """Return how many points and how many cells the map has."""
    axis, beside = Figure().subplots(1, 2)
    plots._maps([axis, beside], told, trials)
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
    told = fake_search.search("random", trials=24, space=space)
    trials = fake_search.searched(told)
    points, _ = drawn(told, trials)
    assert points == len(trials) == 24


def test_a_cell_shows_the_last_of_the_trials_of_one_arm():
    rates = Dimension((RATE,), tuple(k / 1000 for k in range(1, 15)))
    told = fake_search.search("hyperband", space=(rates,))
    trials = fake_search.searched(told)
    promoted = [tried for tried in trials.values() if tried.values.get("tuner/trial_id")]
    assert promoted
    assert drawn(told, trials) == (0, len({tried.values[RATE] for tried in trials.values()}))
    assert set(plots._last(trials)) & {n for n, t in trials.items() if t in promoted}


def test_values_may_be_lists_and_a_condition_may_stand_last(tmp_path):
    widths = Dimension(("network.widths",), ([2, 2, 4], [4, 4, 8]))
    rate = Dimension((RATE,), (1e-3,))
    std = merge(DEFAULT_SPACE[:2], [parse(f"{STD}=[0.01, 0.1]")])
    told = fake_search.search("grid", space=(rate, widths, *std))
    trials = fake_search.searched(told)
    assert drawn(told, trials) == (0, len(trials))
    plots.draw(told, trials, tmp_path / "map.png")
    assert imread(tmp_path / "map.png").std() > 0.05
