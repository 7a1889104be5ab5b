"""Runs trained together on JAX, four small ones, in processes of their own."""

from importlib.util import find_spec

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments.harness.runtime import subprocesses
from experiments.harness.spec import ProcessError

pytestmark = pytest.mark.skipif(not find_spec("jax"), reason="JAX is not installed")
DISTANCE = 1e-6  # of what is measured of a batched run, to the same run alone, after 9 steps


def call(function: str, folder) -> dict:
    arguments = {"folder": str(folder)}
    return subprocesses.call(
        f"tests.helpers.batched_runs:{function}", arguments, backend="jax", start={}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def made(folder) -> dict:
    with pytest.raises(ProcessError, match="exit code -9"):
        call("killed", folder / "killed")
    return call("together", folder)


@pytest.fixture(scope="module")
def turned(made) -> dict:
    return made["turned"]


@pytest.fixture(scope="module")
def batched(made) -> dict:
    return made["batched"]


def chains(runs: list[dict]) -> list[list[str]]:
    return [run["chain"] for run in runs]


def test_in_turn_each_has_the_bits_that_it_has_alone(turned):
    assert {run["status"] for run in turned["whole"]} == {"complete"}
    assert len({run["chain"][-1] for run in turned["whole"]}) == 4
    assert turned["whole"][0] == turned["alone"]


def test_killed_while_they_were_kept_they_go_on_to_the_same_bits(turned):
    assert turned["left"] == ["000000"] * 4 + ["000001"] * 4 + ["000002"] * 2
    assert turned["gone on"] == turned["whole"]


def test_a_directory_holds_a_run_made_together_or_one_made_alone(turned):
    for line in turned["refused"]:
        assert "belongs to another run: environment.together (" in line
        assert "\n" not in line


@pytest.mark.usefixtures("turned")
def test_each_has_its_own_events(folder):
    found = [*(folder / "whole").rglob("seed*/events.*")]
    assert len(found) == 4
    for path in found:
        events = EventAccumulator(str(path.parent), size_guidance={"scalars": 0})
        events.Reload()
        assert [event.step for event in events.Scalars("loss/train")] == [3, 6, 9]
        assert [event.step for event in events.Scalars("conv1/kernel/gradient_norm")] == [0, 9]


def test_interrupted_at_once_they_go_on_to_the_bits_that_one_has_by_itself(batched):
    assert batched["left"] == [["interrupted", 1]] * 4
    assert {run["status"] for run in batched["whole"]} == {"complete"}
    assert batched["anew"]["chain"] == batched["whole"][1]["chain"]


def test_fewer_test_examples_than_a_batch_are_evaluated_at_once(batched):
    at_once, in_turn = batched["few"]
    assert at_once == pytest.approx(in_turn, rel=DISTANCE)
    assert 15.0 in at_once  # a mean's count


def test_at_once_they_are_within_the_stated_distance_of_runs_alone(turned, batched):
    assert chains(batched["whole"]) != chains(turned["whole"])  # the environment says so
    for one, alone in zip(batched["whole"], turned["whole"], strict=True):
        assert one["chain"][0] == alone["chain"][0]
        for name, values in alone["history"].items():
            assert one["history"][name] == pytest.approx(values, abs=DISTANCE, rel=DISTANCE)
