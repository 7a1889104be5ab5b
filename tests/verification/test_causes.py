"""Which knobs are turned, and in which order."""

from experiments.harness.runtime import cpu
from experiments.verification import causes
from tests.helpers.environment import ENVIRONMENT


def test_every_count_of_threads_is_tried_likely_ones_first(monkeypatch):
    monkeypatch.setattr(cpu, "processors", lambda: 6)
    told = [told for told, _ in causes.candidates(ENVIRONMENT | {"threads": 4})]
    counts = [line.split()[1] for line in told if line.startswith("threads: ")]
    assert counts == ["6,", "1,", "2,", "3,", "5,"]


def test_each_knob_is_turned_by_itself():
    as_it_was = causes.recorded_start(ENVIRONMENT)
    for told, arguments in causes.candidates(ENVIRONMENT):
        changed = [name for name in as_it_was if arguments[name] != as_it_was[name]]
        assert len(changed) == 1, told
