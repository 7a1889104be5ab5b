import numpy as np
import pytest

from experiments.harness.telemetry.histogram import BINS, compute_histogram

NORMAL = np.random.default_rng(0).normal(size=(30, 40)).astype("float32")


def test_bins_of_equal_width_count_every_value():
    histogram = compute_histogram(NORMAL)
    assert histogram.counts.sum() == histogram.size == NORMAL.size
    assert (histogram.least, histogram.greatest) == (NORMAL.min(), NORMAL.max())
    assert histogram.total == pytest.approx(NORMAL.sum(dtype="float64"))
    assert histogram.squares == pytest.approx(np.square(NORMAL, dtype="float64").sum())
    assert len(histogram.edges) == BINS
    np.testing.assert_allclose(np.diff(histogram.edges), np.ptp(NORMAL) / BINS, rtol=1e-5)
    counts = histogram.counts.cumsum()
    for edge, count in zip(histogram.edges[:-1], counts[:-1], strict=True):
        assert (edge > NORMAL).sum() == pytest.approx(count, abs=1)


def test_nonfinite_values_are_counted_and_left_out():
    values = NORMAL.copy()
    values[0, :3] = np.nan, np.inf, -np.inf
    histogram = compute_histogram(values)
    assert (histogram.nonfinite, histogram.size) == (3, NORMAL.size - 3)
    assert np.isfinite(
        [histogram.least, histogram.greatest, histogram.total, histogram.squares]
    ).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -3e5, 3e38])
def test_constant_tensor_has_a_narrow_range_around_its_value(value):
    histogram = compute_histogram(np.full((5, 2), value, "float32"))
    assert histogram.counts.max() == histogram.size == 10
    fullest = histogram.counts.argmax()
    width = histogram.edges[1] - histogram.edges[0]
    assert abs(histogram.edges[fullest] - width / 2 - float(np.float32(value))) <= width
    assert width <= max(abs(value), 1e-6) * 1e-4


def test_largest_floats_do_not_overflow():
    assert compute_histogram(np.array([-3e38, 0, 3e38], "float32")).size == 3


@pytest.mark.parametrize("values", [[], [np.nan, np.inf]])
def test_histogram_without_finite_values_is_empty(values):
    histogram = compute_histogram(np.array(values, "float32"))
    assert (histogram.size, histogram.nonfinite) == (0, len(values))
