import numpy as np
import pytest

from experiments.harness.model.metrics import LogitGap
from experiments.harness.model.variables import to_numpy

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("batches", "gap"),
    [
        ([[[1.0, 4.0, 2.0], [0.0, -2.0, 3.0]]], 5.0),
        ([[[1.0, 4.0]], [[0.0, 1.0]]], 3.0),
        ([[[0.0, 0.0]]], 0.0),
        ([[[1.0, 4.0], [NAN, 0.0], [INF, 0.0]], [[NAN, NAN]]], 3.0),
        ([[[NAN, NAN]]], NAN),
    ],
)
def test_logit_gap_is_the_largest_finite_gap_since_reset(batches, gap):
    metric = LogitGap()
    metric.update_state(None, np.array([[0.0, 1000.0]], "float32"))
    metric.reset_state()
    for batch in batches:
        metric.update_state(None, np.array(batch, "float32"))
    np.testing.assert_equal(float(to_numpy(metric.result())), gap)
