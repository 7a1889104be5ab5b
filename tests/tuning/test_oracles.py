"""The same search gives the same trials: again, killed, and by several workers."""

import json
import random
import threading
import time
from dataclasses import asdict

import pytest

from experiments.harness.spec import Dimension, UserError
from experiments.harness.spec.search_space import DEFAULT_SPACE, numeric_range
from experiments.tuning import journal
from experiments.tuning.distributed.worker import run_trials
from experiments.tuning.objectives import ORACLES, SHARDED
from experiments.tuning.oracles import build, values_of
from experiments.tuning.replayable_oracle import OUTCOME, SEARCH
from experiments.tuning.trial import Outcome
from tests.helpers import fake_search
from tests.helpers.fake_search import nobodys

SIZES = {"grid": (5 + 2) * 4, "random": 14, "bayesian": 11, "hyperband": 23}


@pytest.fixture(scope="module")
def serial():
    return {name: fake_search.searched(search(name)) for name in ORACLES}


@pytest.mark.parametrize("name", ORACLES)
def test_a_search_ends_and_does_the_same_again(name, serial):
    assert len(serial[name]) == SIZES[name] == expected(name)
    assert fake_search.searched(search(name)) == serial[name]


def search(name: str, **options):
    return fake_search.search(name, trials=SIZES[name], **options)


def expected(name: str) -> int:
    return build(search(name), {}, nobodys).expected()


@pytest.mark.parametrize("name", ["random", "bayesian", "hyperband"])
def test_another_seed_is_another_search_and_zero_is_a_seed(name, serial):
    other = fake_search.searched(search(name, seed=1))
    assert len(other) == len(serial[name])
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
        return fake_search.formula(values)

    for _ in range(10):
        with pytest.raises(KeyboardInterrupt):
            fake_search.searched(search(name), train, known)
    fake_search.searched(search(name), train, known)
    assert known == serial[name]
    assert len(trained) == SIZES[name], "a trial was trained twice"


def test_a_late_outcome_of_a_trial_that_was_given_out_again_changes_nothing():
    told = fake_search.search("random", trials=1)
    oracle = build(told, {}, nobodys)
    oracle.limit = 0.05

    def late(values):
        time.sleep(0.3)
        return fake_search.formula(values)

    slow = threading.Thread(target=run_trials, args=(told, oracle, "slow", late))
    slow.start()
    time.sleep(0.2)
    run_trials(told, oracle, "fast", fake_search.formula)
    slow.join(10)
    assert not slow.is_alive()
    assert len(fake_search.tried(told, oracle)) == 1


@pytest.mark.parametrize("name", ORACLES)
def test_a_search_all_of_whose_trials_diverge_ends(name):
    def train(_):
        return Outcome(fake_search.WORST["accuracy"], [[None] * 9], [50], ["f"])

    assert len(fake_search.searched(search(name), train)) == SIZES[name]


def test_a_bayesian_search_learns_from_what_it_saw():
    told = fake_search.search("bayesian", trials=14)
    scores = [tried.outcome.score for tried in fake_search.searched(told).values()]
    chosen, drawn = scores[told.initial :], scores[: told.initial]
    assert sum(chosen) / len(chosen) > sum(drawn) / len(drawn)
    assert max(chosen) > max(drawn)


@pytest.mark.parametrize("name", ORACLES)
def test_a_journal_holds_all_that_a_search_goes_on_from(name, serial, tmp_path):
    told = search(name)
    journal.write(told, serial[name], tmp_path)
    known = journal.read(told, tmp_path)
    assert known == serial[name]
    oracle = build(told, {number: tried.outcome for number, tried in known.items()}, nobodys)
    oracle.replay()
    assert oracle.over
    assert fake_search.tried(told, oracle) == serial[name]


def test_what_is_known_is_asked_for_before_any_worker_asks(serial, monkeypatch):
    told = search("random")
    known = {number: serial["random"][number].outcome for number in (0, 1, 2, 5)}
    oracle = build(told, known, nobodys)
    oracle.replay()
    monkeypatch.setattr(oracle, "populate_space", None)
    assert oracle.create_trial("one").trial_id == "03"
    assert oracle.expected() == SIZES["random"]


FEW = (Dimension(("optimizer.learning_rate",), (1e-3, 3e-3, 1e-2)),)


@pytest.mark.parametrize("name", ORACLES)
def test_an_oracle_that_has_no_more_is_not_asked_again(name, monkeypatch):
    told = fake_search.search(name, trials=5, space=FEW)
    serial = fake_search.searched(told)
    oracle, asked = build(told, {}, nobodys), []
    populate = oracle.populate_space
    monkeypatch.setattr(oracle, "populate_space", lambda n: asked.append(n) or populate(n))
    held = oracle.create_trial("slow")
    while not oracle.exhausted and oracle.create_trial("fast").status == "RUNNING":
        work_once(told, oracle, "fast")
    times = len(asked)
    assert [oracle.create_trial("fast").status for _ in range(30)] == ["IDLE"] * 30
    assert len(asked) == times
    assert oracle.create_trial("slow").trial_id == held.trial_id
    run_trials(told, oracle, "slow", fake_search.formula)
    assert fake_search.tried(told, oracle) == serial
    assert oracle.expected() == len(serial)


def work_once(told, oracle, name: str) -> None:
    """Train the trial that a worker has, and no other."""
    trial = oracle.create_trial(name)
    outcome = fake_search.formula(values_of(told, trial))
    trial.hyperparameters.values[OUTCOME] = json.dumps(asdict(outcome))
    oracle.end_trial(trial)


def test_who_lost_a_trial_and_why_is_known_whoever_noticed():
    oracle = build(search("random"), {}, nobodys)
    oracle.limit = -1.0
    assert oracle.create_trial("slow").trial_id == oracle.create_trial("fast").trial_id
    assert oracle.lost()[0] == ("slow", "is silent for -1 s")
    oracle.limit, oracle.longest = 60.0, -1.0
    assert oracle.create_trial("slow").trial_id == "00"
    oracle.get_trial("00")
    assert oracle.lost() == [("slow", "has not ended in -1 s")]
    assert oracle.lost() == []


def test_a_chief_that_was_started_again_takes_what_the_one_before_gave_out():
    told = search("random")
    before, after = build(told, {}, nobodys), build(told, {}, nobodys)
    before.create_trial("one")
    trial = before.create_trial("two")
    after.replay()
    assert after.get_trial(trial.trial_id).status == "RUNNING"
    outcome = fake_search.formula(values_of(told, trial))
    trial.hyperparameters.values[OUTCOME] = json.dumps(asdict(outcome))
    after.end_trial(trial)
    assert [after.create_trial(name).trial_id for name in ("three", "four")] == ["00", "02"]
    trial.hyperparameters.values[SEARCH] = "another"
    with pytest.raises(UserError, match="is another search's"):
        after.end_trial(trial)


def test_an_oracle_that_failed_fails_at_once_for_all(monkeypatch):
    oracle = build(search("random"), {}, nobodys)
    monkeypatch.setattr(oracle, "populate_space", lambda _: 1 / 0)
    failed = []

    def ask():
        with pytest.raises(ZeroDivisionError) as raised:
            oracle.create_trial("one")
        failed.append(raised.value)

    for _ in range(2):
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(10)
    assert failed == [oracle.broken] * 2


def test_the_highest_seed_is_a_seed():
    told = fake_search.search("bayesian", seed=2**32 - 2, trials=1)
    assert len(fake_search.searched(told)) == 1


def test_shards_have_every_trial_once(serial):
    for name in SHARDED:
        told = search(name)
        parts = [fake_search.searched(told, skip=lambda n, k=k: n % 3 != k) for k in range(3)]
        assert sum(map(len, parts)) == SIZES[name]
        assert {n: tried for part in parts for n, tried in part.items()} == serial[name]


def test_a_choice_may_be_of_anything_and_a_range_of_a_single_point():
    space = (
        Dimension(("network.widths",), ([2, 2, 4], [4, 4, 8])),
        numeric_range("optimizer.learning_rate", low=1e-3, high=1e-2, points=1),
    )
    trials = fake_search.searched(fake_search.search("grid", space=space))
    assert [tried.values["network.widths"] for tried in trials.values()] == [[2, 2, 4], [4, 4, 8]]
    assert len(fake_search.searched(fake_search.search("random", space=space, trials=3))) == 3


def test_values_have_four_digits_and_those_not_active_are_left_out(serial):
    for tried in serial["random"].values():
        rate = tried.values["optimizer.learning_rate"]
        assert float(f"{rate:.4g}") == rate
        truncated = tried.values["network.kernel_initializer"] == "TruncatedNormal"
        assert ("network.kernel_initializer.stddev" in tried.values) == truncated
    assert DEFAULT_SPACE[1].when == ("network.kernel_initializer", "TruncatedNormal")
