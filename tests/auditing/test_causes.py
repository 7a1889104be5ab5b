"""The search for causes, with a script that answers at once: which switches it tries, and keeps."""

from pathlib import Path

import pytest

from experiments.auditing import causes
from experiments.auditing.comparison import Difference
from experiments.auditing.processes import ScriptError
from experiments.auditing.record import Record
from experiments.auditing.switches import ORDER, SEEDS, SWITCHES, to_try

FOUND = Difference(0, 1, "content", "the data", generators=["python", "numpy"])


class FakeScript:
    """Its nth event repeats if the switches contain one of the nth of ``needs``."""

    backend = "tensorflow"

    def __init__(self, *needs, fails=()):
        self.needs, self.fails, self.requests = needs, fails, []

    def run(self, request):
        self.requests.append(request)
        if {*request.switches} & {*self.fails}:
            raise ScriptError("it fails so")
        number = len(self.requests)
        events = [
            {"training": 1, "type": "begin", "kind": "fit", "model": "m", "line": f"{line}"}
            for line in (0 if {*need} <= {*request.switches} else number for need in self.needs)
        ]
        calls = {name: {f"train.py:1 {name}": None} for name in request.switches}
        return Record(Path(), events[: request.stop_after], (), {}, calls)


def find(script, racing=False):
    return causes.find(causes.Trials(script, 60), FOUND, racing)


def test_the_first_switch_that_removes_the_difference_is_the_cause():
    script = FakeScript(["hash_seed"])
    cause = find(script)
    assert cause.switches == ["hash_seed"]
    assert cause.calls == ["train.py:1 hash_seed"]
    assert cause.tried == ["python_seed", "numpy_seed", "keras_seed", "hash_seed"]
    assert all(request.stop_after == 1 for request in script.requests)
    assert len(script.requests) == 3 * 2 + causes.TRIALS  # two that differ are enough


def test_switches_that_are_needed_together_are_found_and_no_others():
    cause = find(FakeScript(["clock", "one_thread", "numpy_seed"]))
    assert {*cause.switches} == {"clock", "one_thread", "numpy_seed"}


def test_a_switch_with_which_the_script_fails_is_passed_over():
    assert find(FakeScript(["clock"], fails=["python_seed"])).switches == ["clock"]


def test_no_cause_is_found_where_no_switch_helps():
    cause = find(FakeScript(["the moon"]))
    assert (cause.switches, {*cause.tried}) == ((), {*ORDER["content"]})


def test_a_race_is_tried_more_often_and_threads_first():
    script = FakeScript(["threads_in_turn"])
    assert find(script, racing=True).tried == ["threads_in_turn"]
    assert len(script.requests) == causes.RACING_TRIALS


def test_a_fix_removes_the_later_differences_too_and_nothing_needless():
    script = FakeScript(["numpy_seed"], ["clock"], ["determinism"])
    trials = causes.Trials(script, 60)
    fix = causes.smallest_fix(trials, causes.find(trials, FOUND, False), 2, racing=False)
    assert {*fix} == {"numpy_seed", "clock", "determinism"}
    first = causes.Cause(["numpy_seed", "xla_off"])
    assert causes.smallest_fix(trials, first, 2, racing=False) is not None
    assert "xla_off" not in causes.smallest_fix(trials, first, 2, racing=False)


def test_there_is_no_fix_where_a_later_difference_has_none():
    trials = causes.Trials(FakeScript(["numpy_seed"], ["the moon"]), 60)
    assert causes.smallest_fix(trials, causes.Cause(["numpy_seed"]), 2, racing=False) is None


@pytest.mark.parametrize("kind", ORDER)
def test_every_kind_of_difference_tries_every_switch(kind):
    assert {*to_try(kind, "tensorflow", [])} == {*SWITCHES}
    assert "onednn_off" not in to_try(kind, "jax", [])


def test_a_seed_of_a_generator_that_was_equal_is_tried_last():
    order = to_try("content", "tensorflow", ["numpy"])
    assert order[0] == "numpy_seed"
    assert order[-1] == "python_seed"
    assert [*to_try("content", "tensorflow", [])[:3]] == [*SEEDS]


def test_every_switch_has_a_line_for_its_backends():
    for switch in SWITCHES.values():
        assert all(switch.line(backend) for backend in switch.backends)


def ended(**end):
    return Record(Path(), (), (), end, {})


def test_files_that_a_run_read_otherwise_are_evidence():
    a, b = ended(files={"d": "1", "e": "1"}), ended(files={"d": "2", "e": "1", "f": "1"})
    assert causes.changed_files(a, b) == ["the file d changed", "the file f changed"]
    b = ended(files={"d": "2", "e": "1"}, written=["d"])
    (line,) = causes.changed_files(a, b)
    assert line == "the file d changed, which a run of the script writes and the next one reads"
    assert causes.changed_environment(
        ended(environment={"threads": {"intra-op": 1}}),
        ended(environment={"threads": {"intra-op": 2}}),
    ) == ["threads.intra-op: 1 and 2"]
    assert causes.changed_code(ended(code={"a.py": "1"}), ended(code={"a.py": "2"})) == [
        "the code of a.py differs"
    ]
