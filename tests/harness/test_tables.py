from math import inf, nan

import pytest

from experiments.harness.tables import spread


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([], "-"),
        ([0.98765], "0.9877"),
        ([nan], "nan"),
        ([1.0, 2.0, 3.0], "2 ± 1 (n=3)"),
        ([1.0, 3.0, nan, nan, inf], "2 ± 1.4 (n=2), nan (n=2), inf (n=1)"),
    ],
)
def test_spread(values, told):
    assert spread(values) == told
