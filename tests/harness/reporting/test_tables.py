from math import inf, nan

import pytest

from experiments.harness.reporting import tables
from experiments.harness.reporting.tables import spread


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


def test_campaigns_stand_side_by_side_with_what_they_harmed():
    def campaign(backend: str, count: int, lost: int) -> dict:
        row = {"fault": "SIGKILL", "count": count, "intervals lost": lost}
        return {
            "environment": {"backend": backend, "versions": {backend: "1.2"}},
            "table": [row | {"wrong fingerprints": 0, "unclear endings": 0}],
        }

    told = tables.campaigns([campaign("jax", 50, 0), campaign("torch", 7, 1)]).splitlines()
    assert told[0].split() == ["jax", "1.2", "torch", "1.2"]
    assert told[2].split() == ["SIGKILL", "50", "7"]
    assert told[3].split() == ["intervals", "lost", "0", "1"]
