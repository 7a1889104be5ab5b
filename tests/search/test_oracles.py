"""The same search gives the same trials: again, killed, and by several workers."""

import random
import threading
import time

import pytest

from experiments.harness.space import SPACE, Dimension, spaced
from experiments.search.choices import ORACLES, SHARDED
from experiments.search.oracles import build
from experiments.search.trial import Outcome
from experiments.search.work import work
from tests.search import pretended

SIZES = {"grid": (5 + 2) * 4, "random": 14, "bayesian": 11, "hyperband": 23}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("experiments.search.work.PAUSE", 0.01)


@pytest.fixture(scope="module")
def serial():
    return {name: pretended.searched(search(name)) for name in ORACLES}


@pytest.mark.parametrize("name", ORACLES)
def test_a_search_ends_and_does_the_same_again(name, serial):
    assert len(serial[name]) == SIZES[name] == expected(name)
    assert pretended.searched(search(name)) == serial[name]


def search(name: str, **options):
    return pretended.search(name, trials=SIZES[name], **options)


def expected(name: str) -> int:
    return build(search(name), {}, lambda _: False).expected()


@pytest.mark.parametrize("name", ["random", "bayesian", "hyperband"])
def test_another_seed_is_another_search_and_zero_is_a_seed(name, serial):
    other = pretended.searched(pretended.search(name, seed=1))
    assert [t.values for t in other.values()] != [t.values for t in serial[name].values()]


@pytest.mark.parametrize("name", ORACLES)
def test_killed_ten_times_it_goes_on_to_the_same_trials(name, serial):
    dice = random.Random(name)
    killed_after = sorted(dice.sample(range(SIZES[name]), 10))
    known, trained = {}, []

    def train(values):
        if killed_after and len(trained) == killed_after[0]:
            killed_after.pop(0)
            raise KeyboardInterrupt
        trained.append(values)
        return pretended.formula(values)

    for _ in range(10):
        with pytest.raises(KeyboardInterrupt):
            pretended.searched(search(name), train, known)
    pretended.searched(search(name), train, known)
    assert known == serial[name]
    assert len(trained) == SIZES[name], "a trial was trained twice"


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_three_workers_one_of_them_dead_try_the_same(name, serial):
    told = search(name)
    oracle = build(told, {}, lambda _: False)
    oracle.limit, dice = 0.3, random.Random(name)
    lost = threading.Event()

    def slow(values):
        time.sleep(dice.random() * 0.02)
        return pretended.formula(values)

    def dying(_):
        lost.set()
        raise SystemExit

    threads = [
        threading.Thread(target=work, args=(told, oracle, f"worker{k}", train))
        for k, train in enumerate((dying, slow, slow))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert lost.is_set()
    assert pretended.tried(told, oracle) == serial[name]


def test_a_late_outcome_of_a_trial_that_was_given_out_again_changes_nothing():
    told = pretended.search("random", trials=1)
    oracle = build(told, {}, lambda _: False)
    oracle.limit = 0.05

    def late(values):
        time.sleep(0.3)
        return pretended.formula(values)

    slow = threading.Thread(target=work, args=(told, oracle, "slow", late))
    slow.start()
    time.sleep(0.2)
    work(told, oracle, "fast", pretended.formula)
    slow.join(10)
    assert not slow.is_alive()
    assert len(pretended.tried(told, oracle)) == 1


@pytest.mark.parametrize("name", ORACLES)
def test_a_search_all_of_whose_trials_diverge_ends(name):
    def train(_):
        return Outcome(pretended.WORST["accuracy"], [[None] * 9], [50], ["f"])

    assert len(pretended.searched(search(name), train)) == SIZES[name]


def test_a_search_finds_what_is_best(serial):
    def regret(name):
        return 1 - max(tried.outcome.score for tried in serial[name].values())

    assert regret("bayesian") < 0.5


def test_shards_have_every_trial_once(serial):
    for name in SHARDED:
        told = search(name)
        parts = [pretended.searched(told, skip=lambda n, k=k: n % 3 != k) for k in range(3)]
        assert sum(map(len, parts)) == SIZES[name]
        assert {n: tried for part in parts for n, tried in part.items()} == serial[name]


def test_a_choice_may_be_of_anything_and_a_range_of_a_single_point():
    space = (
        Dimension(("network.widths",), ([2, 2, 4], [4, 4, 8])),
        spaced("optimizer.learning_rate", low=1e-3, high=1e-2, points=1),
    )
    trials = pretended.searched(pretended.search("grid", space=space))
    assert [tried.values["network.widths"] for tried in trials.values()] == [[2, 2, 4], [4, 4, 8]]
    assert len(pretended.searched(pretended.search("random", space=space, trials=3))) == 3


def test_values_have_four_digits_and_those_not_active_are_left_out(serial):
    for tried in serial["random"].values():
        rate = tried.values["optimizer.learning_rate"]
        assert float(f"{rate:.4g}") == rate
        truncated = tried.values["network.kernel_initializer"] == "TruncatedNormal"
        assert ("network.kernel_initializer.stddev" in tried.values) == truncated
    assert SPACE[1].when == ("network.kernel_initializer", "TruncatedNormal")
