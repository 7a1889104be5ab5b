import json

import pytest

from tests import equal_units


@pytest.mark.parametrize(("steps", "kept"), [(500, 7_000), (20_000, 20_000)])
def test_of_a_run_that_is_recorded_already_the_longer_row_stays(tmp_path, steps, kept):
    recorded = {"environment": {"backend": "jax"}, "dataset": "mnist", "scale": "full", "seed": 0}
    recorded["steps"] = 7_000
    path = tmp_path / "equal-units.json"
    assert equal_units.with_recorded([recorded], path) == [recorded]
    path.write_text(json.dumps({"rows": [recorded]}))
    new = [recorded | {"steps": steps}, recorded | {"seed": 1}]
    rows = equal_units.with_recorded(new, path)
    assert rows == [recorded | {"steps": kept}, recorded | {"seed": 1}]
