import numpy as np
import pytest

from experiments.harness.telemetry.histogram import BINS, compute_histogram

NORMAL = np.random.default_rng(0).normal(size=(30, 40)).astype("float32")


def test_every_value_is_counted_in_bins_of_one_width():
    told = compute_histogram(NORMAL)
    assert told.counts.sum() == told.size == NORMAL.size
    assert (told.least, told.greatest) == (NORMAL.min(), NORMAL.max())
    assert told.total == pytest.approx(NORMAL.sum(dtype="float64"))
    assert told.squares == pytest.approx(np.square(NORMAL, dtype="float64").sum())
    assert len(told.edges) == BINS
    np.testing.assert_allclose(np.diff(told.edges), np.ptp(NORMAL) / BINS, rtol=1e-5)
    below = told.counts.cumsum()
    for edge, count in zip(told.edges[:-1], below[:-1], strict=True):
        assert (edge > NORMAL).sum() == pytest.approx(count, abs=1)


def test_what_is_not_finite_is_counted_and_left_out():
    broken = NORMAL.copy()
    broken[0, :3] = np.nan, np.inf, -np.inf
    told = compute_histogram(broken)
    assert (told.nonfinite, told.size) == (3, NORMAL.size - 3)
    assert np.isfinite([told.least, told.greatest, told.total, told.squares]).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -3e5, 3e38])
def test_one_value_alone_has_a_narrow_range_about_it(value):
    told = compute_histogram(np.full((5, 2), value, "float32"))
    assert told.counts.max() == told.size == 10
    place = told.counts.argmax()
    width = told.edges[1] - told.edges[0]
    assert abs(told.edges[place] - width / 2 - float(np.float32(value))) <= width
    assert width <= max(abs(value), 1e-6) * 1e-4


def test_the_widest_floats_do_not_overflow():
    assert compute_histogram(np.array([-3e38, 0, 3e38], "float32")).size == 3


@pytest.mark.parametrize("values", [[], [np.nan, np.inf]])
def test_without_finite_values_it_is_empty(values):
    told = compute_histogram(np.array(values, "float32"))
    assert (told.size, told.nonfinite) == (0, len(values))
