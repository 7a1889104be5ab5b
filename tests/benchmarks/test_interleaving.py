"""Processes that take turns: what they do is pretended, that they are processes is not."""

import time
from pathlib import Path

import numpy as np
import pytest

from experiments import catalog
from experiments.benchmarks import interleaving, task
from experiments.benchmarks.competitors import Competitor, Method
from experiments.harness.spec import ProcessError, UserError
from experiments.harness.spec.overrides import resolve

HERE = "tests.benchmarks.test_interleaving"
ARM = resolve(catalog.load("alexnet_lr_decay"), "fixed_rate", "mini").identity()


def told(given, rounds, name):
    """Write the name down once a round, of which a tenth of a second are steps."""
    while rounds.another():
        with (given.folder / "log").open("a") as log:
            log.write(name)
        time.sleep(0.1)
        rounds.stepped()
        time.sleep(0.05)


def one(given, rounds):
    told(given, rounds, "1")


def other(given, rounds):
    told(given, rounds, "2")


def dies(_, rounds):
    rounds.another()
    raise LookupError("deep")


def refuses(*_):
    raise UserError("not on this machine")


def peer(function) -> Competitor:
    return Competitor(Method(function.__name__, f"{HERE}:{function.__name__}", ("jax",)), "jax")


@pytest.fixture
def asked(tmp_path):
    np.savez(tmp_path / task.WEIGHTS)
    images, labels = np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.int64)
    source = tmp_path / "digits.npz"
    np.savez(source, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return {"arm": ARM, "source": str(source), "folder": str(tmp_path)}


def test_they_take_turns_and_none_always_comes_first(asked):
    lines = []
    found = interleaving.run_interleaved([peer(one), peer(other)], asked, 2, lines.append)
    assert Path(asked["folder"], "log").read_text() == "12" + "12" + "21"
    assert [len(rounds) for rounds in found.values()] == [2, 2]
    for took in (*found["one"], *found["other"]):
        assert 0.1 <= took["steps"] < took["interval"]
        assert took["interval"] - took["steps"] >= 0.05
        assert took["memory"]["host"] > 10_000_000
    assert lines[-1] == "round 2 of 2"


def test_apart_each_round_is_another_process(asked):
    found = interleaving.run_one_at_a_time([peer(one), peer(other)], asked, 1, lambda _: None)
    assert Path(asked["folder"], "log").read_text() == "1122"  # the first of each warms up
    assert [len(rounds) for rounds in found.values()] == [1, 1]


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [(dies, ProcessError, "LookupError: deep"), (refuses, UserError, "not on this machine")],
)
def test_what_ends_a_process_is_told(asked, function, error, words):
    with pytest.raises(error, match=words):
        interleaving.run_interleaved([peer(function)], asked, 1, lambda _: None)
