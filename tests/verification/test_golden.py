import json

import pytest

from experiments.harness.runtime.backends import PACKAGES
from experiments.verification import golden, self_test_runs
from tests.helpers.environment import ENVIRONMENT


def test_every_environment_is_kept_under_its_own_key_with_all_short_runs():
    kept = golden.load()
    assert {entry["environment"]["backend"] for entry in kept.values()} == set(PACKAGES)
    for key, entry in kept.items():
        assert key == golden.key(entry["environment"])
        assert "deterministic" not in entry["environment"]
        assert set(entry["fingerprints"]) == set(self_test_runs.RUNS)


def test_short_runs_end_in_the_bits_that_are_kept_for_this_environment(tmp_path):
    if golden.key(ENVIRONMENT) not in golden.load():
        pytest.skip("experiments/golden.json knows no environment like this one")
    made = self_test_runs.train_short_runs({str(tmp_path): None}, timing=False)["fingerprints"]
    found = {run: golden.compare(ENVIRONMENT, run, made[run][0]) for run in self_test_runs.RUNS}
    assert found == dict.fromkeys(self_test_runs.RUNS, "same")


def test_what_is_kept_is_found_and_replaced(tmp_path, monkeypatch):
    path = tmp_path / "golden.json"
    path.write_text("{}")
    monkeypatch.setattr(golden, "PATH", path)
    one, other = {"backend": "abacus"}, {"backend": "abacus", "threads": 2}
    for environment, run, fingerprint in (
        (one, "a", "1"), (other, "a", "2"), (one, "b", "3"), (one, "a", "4"),
    ):  # fmt: skip
        golden.update(environment, run, fingerprint)
    assert golden.compare(one, "a", "4") == "same"
    assert golden.compare(one, "a", "1") == "OTHER"
    assert golden.compare(other, "b", "3") == "unknown"
    assert len(json.loads(path.read_text())) == 2
