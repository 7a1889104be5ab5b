"""Four small runs trained in batches on JAX, in processes of their own."""

from importlib.util import find_spec

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments.harness.runtime import subprocesses
from experiments.harness.spec import ProcessError

pytestmark = pytest.mark.skipif(not find_spec("jax"), reason="JAX is not installed")
TOLERANCE = 1e-6  # between metrics of a run at once and in turn, after 9 steps


def call(function: str, folder) -> dict:
    arguments = {"folder": str(folder)}
    return subprocesses.call(
        f"tests.helpers.batched_runs:{function}", arguments, backend="jax", start={}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("batched")


@pytest.fixture(scope="module")
def results(folder) -> dict:
    with pytest.raises(ProcessError, match="exit code -9"):
        call("train_until_killed", folder / "killed")
    return call("train_both_ways", folder)


@pytest.fixture(scope="module")
def in_turn(results) -> dict:
    return results["in turn"]


@pytest.fixture(scope="module")
def at_once(results) -> dict:
    return results["at once"]


def chains(runs: list[dict]) -> list[list[str]]:
    return [run["chain"] for run in runs]


def test_in_turn_each_run_has_the_same_bits_as_alone(in_turn):
    assert {run["status"] for run in in_turn["whole"]} == {"complete"}
    assert len({run["chain"][-1] for run in in_turn["whole"]}) == 4
    assert in_turn["whole"][0] == in_turn["alone"]


def test_killed_during_the_saves_they_resume_to_the_same_bits(in_turn):
    assert in_turn["checkpoints"] == ["000000"] * 4 + ["000001"] * 4 + ["000002"] * 2
    assert in_turn["resumed"] == in_turn["whole"]


def test_a_directory_is_of_a_batched_run_or_of_one_alone(in_turn):
    for line in in_turn["errors"]:
        assert "belongs to another run: environment.together (" in line
        assert "\n" not in line


@pytest.mark.usefixtures("in_turn")
def test_each_run_has_its_own_events(folder):
    found = [*(folder / "whole").rglob("seed*/events.*")]
    assert len(found) == 4
    for path in found:
        events = EventAccumulator(str(path.parent), size_guidance={"scalars": 0})
        events.Reload()
        assert [event.step for event in events.Scalars("loss/train")] == [3, 6, 9]
        assert [event.step for event in events.Scalars("conv1/kernel/gradient_norm")] == [0, 9]


def test_interrupted_at_once_they_resume_to_the_bits_of_a_rerun_of_one(at_once):
    assert at_once["interrupted"] == [["interrupted", 1]] * 4
    assert {run["status"] for run in at_once["whole"]} == {"complete"}
    assert at_once["rerun"]["chain"] == at_once["whole"][1]["chain"]


def test_fewer_test_examples_than_a_batch_are_evaluated_at_once(at_once):
    vmapped, sequential = at_once["few examples"]
    assert vmapped == pytest.approx(sequential, rel=TOLERANCE)
    assert 15.0 in vmapped  # a mean's count


def test_at_once_they_are_within_the_tolerance_of_runs_alone(in_turn, at_once):
    assert chains(at_once["whole"]) != chains(in_turn["whole"])  # the programs differ
    for one, alone in zip(at_once["whole"], in_turn["whole"], strict=True):
        assert one["chain"][0] == alone["chain"][0]
        for name, values in alone["history"].items():
            assert one["history"][name] == pytest.approx(values, abs=TOLERANCE, rel=TOLERANCE)
