"""Real processes that take turns; the training in them is faked."""

import logging
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import catalog
from experiments.benchmarks import interleaving
from experiments.benchmarks.competitors import Competitor, Method
from experiments.benchmarks.task import WEIGHTS_FILE, SavedTask
from experiments.harness.spec import ProcessError, UserError
from experiments.harness.spec.overrides import resolve

HERE = "tests.benchmarks.test_interleaving"
ARM = resolve(catalog.load("alexnet_lr_decay"), "fixed_rate", "mini").identity()


def append_each_round(task, rounds, name):
    """Append ``name`` to a file in each round, of which a tenth of a second are steps."""
    while rounds.next_round():
        with (task.folder / "log").open("a") as log:
            log.write(name)
        time.sleep(0.1)
        rounds.end_steps()
        time.sleep(0.05)


def first(task, rounds):
    append_each_round(task, rounds, "1")


def second(task, rounds):
    append_each_round(task, rounds, "2")


def dies(_, rounds):
    rounds.next_round()
    raise LookupError("deep")


def refuses(*_):
    raise UserError("not on this machine")


def competitor(function) -> Competitor:
    return Competitor(Method(function.__name__, f"{HERE}:{function.__name__}", ("jax",)), "jax")


@pytest.fixture
def task(tmp_path):
    np.savez(tmp_path / WEIGHTS_FILE)
    images, labels = np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.int64)
    source = tmp_path / "digits.npz"
    np.savez(source, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return SavedTask(ARM, str(source), str(tmp_path))


def test_competitors_take_turns_and_none_always_comes_first(task, caplog):
    caplog.set_level(logging.INFO, "rerun_zoo")
    results = interleaving.run_interleaved([competitor(first), competitor(second)], task, 2)
    assert Path(task.folder, "log").read_text() == "12" + "12" + "21"
    assert [len(rounds) for rounds in results.values()] == [2, 2]
    for result in (*results["first"], *results["second"]):
        assert 0.1 <= result.steps < result.interval
        assert result.interval - result.steps >= 0.05
        assert result.memory["host"] > 10_000_000
    assert caplog.messages[-1] == "round 2 of 2"


def test_one_at_a_time_each_round_has_a_new_process(task):
    results = interleaving.run_one_at_a_time([competitor(first), competitor(second)], task, 1)
    assert Path(task.folder, "log").read_text() == "1122"  # the first of each warms up
    assert [len(rounds) for rounds in results.values()] == [1, 1]


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [(dies, ProcessError, "LookupError: deep"), (refuses, UserError, "not on this machine")],
)
def test_the_error_of_a_process_is_raised(task, function, error, message):
    with pytest.raises(error, match=message):
        interleaving.run_interleaved([competitor(function)], task, 1)
