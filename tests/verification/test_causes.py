"""Which settings are changed to find a cause, and in which order."""

from experiments.harness.runtime import cpu
from experiments.verification import causes
from tests.helpers.environment import ENVIRONMENT


def test_every_number_of_threads_is_tried_likely_ones_first(monkeypatch):
    monkeypatch.setattr(cpu, "available_count", lambda: 6)
    names = [name for name, _ in causes.candidates(ENVIRONMENT | {"threads": 4})]
    counts = [name.split()[1] for name in names if name.startswith("threads: ")]
    assert counts == ["6", "1", "2", "3", "5"]


def test_one_setting_is_changed_at_a_time():
    recorded = causes.recorded_start(ENVIRONMENT)
    for cause, start in causes.candidates(ENVIRONMENT):
        changed = [name for name in recorded if start[name] != recorded[name]]
        assert len(changed) == 1, cause
