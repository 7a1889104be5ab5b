import json

from experiments.harness.runtime.backends import PACKAGES
from experiments.verification import golden, self_test_runs
from tests.helpers.environment import ENVIRONMENT


def test_every_environment_is_saved_under_its_own_key_with_all_short_runs():
    entries = golden.load()
    assert {entry["environment"]["backend"] for entry in entries.values()} == set(PACKAGES)
    for key, entry in entries.items():
        assert key == golden.key(entry["environment"])
        assert "deterministic" not in entry["environment"]
        assert set(entry["fingerprints"]) == set(self_test_runs.RUNS)


def test_short_runs_stopped_resumed_and_timed_have_the_golden_fingerprints(tmp_path, monkeypatch):
    monkeypatch.setattr(self_test_runs, "TIMED_INTERVALS", 2)
    started = self_test_runs.train_short_runs({str(tmp_path): 1}, timing=False)
    assert started["fingerprints"] == {name: [] for name in self_test_runs.RUNS}
    resumed = self_test_runs.train_short_runs({str(tmp_path): None}, timing=True)
    assert resumed["environment"] == ENVIRONMENT
    assert set(resumed["seconds"]) == set(self_test_runs.RUNS)
    for name in self_test_runs.RUNS:
        assert len(resumed["seconds"][name]) == self_test_runs.TIMED_INTERVALS
        assert min(resumed["seconds"][name]) > 0
    compared = {
        run: golden.compare(ENVIRONMENT, run, fingerprint)
        for run, (fingerprint,) in resumed["fingerprints"].items()
    }
    here = "same" if golden.key(ENVIRONMENT) in golden.load() else "unknown"
    assert compared == dict.fromkeys(self_test_runs.RUNS, here)


def test_saved_fingerprints_are_found_and_replaced(tmp_path, monkeypatch):
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
