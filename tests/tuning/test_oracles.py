"""The same search gives the same trials: repeated, killed and resumed."""

import random

import pytest

from experiments.harness.spec import Dimension
from experiments.harness.spec.search_space import DEFAULT_SPACE, numeric_range
from experiments.tuning import journal
from experiments.tuning.objectives import ORACLES, SHARDABLE
from experiments.tuning.oracles import build, values_of
from experiments.tuning.trial import Outcome
from tests.helpers import fake_search

SIZES = {"grid": (5 + 2) * 4, "random": 14, "bayesian": 11, "hyperband": 23}
SEARCHES = {name: fake_search.make_search(name, trials=SIZES[name]) for name in ORACLES}
THREE_RATES = (Dimension(("optimizer.learning_rate",), (1e-3, 3e-3, 1e-2)),)


@pytest.fixture(scope="module")
def serial():
    return {name: fake_search.run(search) for name, search in SEARCHES.items()}


@pytest.mark.parametrize("name", ORACLES)
def test_a_search_ends_and_gives_the_same_trials_again(name, serial):
    assert len(serial[name]) == SIZES[name] == build(SEARCHES[name], {}).expected_trials()
    assert fake_search.run(SEARCHES[name]) == serial[name]


@pytest.mark.parametrize("name", ["random", "bayesian", "hyperband"])
def test_another_seed_gives_other_trials_and_zero_is_a_seed(name, serial):
    other = fake_search.run(fake_search.make_search(name, trials=SIZES[name], seed=1))
    assert len(other) == len(serial[name])
    assert [t.values for t in other.values()] != [t.values for t in serial[name].values()]


@pytest.mark.parametrize("name", ORACLES)
def test_killed_ten_times_a_search_resumes_to_the_same_trials(name, serial):
    kills = sorted(random.Random(name).sample(range(SIZES[name]), 10))
    known, trained = {}, []

    def train(values):
        if kills and len(trained) == kills[0]:
            kills.pop(0)
            raise KeyboardInterrupt
        trained.append(values)
        return fake_search.formula(values)

    for _ in range(10):
        with pytest.raises(KeyboardInterrupt):
            fake_search.run(SEARCHES[name], train, known)
    fake_search.run(SEARCHES[name], train, known)
    assert known == serial[name]
    assert len(trained) == SIZES[name], "a trial was trained twice"


@pytest.mark.parametrize("name", ORACLES)
def test_a_search_ends_if_all_trials_diverge(name):
    def train(_):
        return Outcome(fake_search.WORST["accuracy"], [[None] * 9], [50], ["f"])

    assert len(fake_search.run(SEARCHES[name], train)) == SIZES[name]


def test_a_bayesian_search_learns_from_its_trials():
    search = fake_search.make_search("bayesian", trials=14)
    scores = [trial.outcome.score for trial in fake_search.run(search).values()]
    drawn, chosen = scores[: search.initial_trials], scores[search.initial_trials :]
    assert sum(chosen) / len(chosen) > sum(drawn) / len(drawn)
    assert max(chosen) > max(drawn)


@pytest.mark.parametrize("name", ORACLES)
def test_a_search_resumes_from_its_journal_alone(name, serial, tmp_path):
    search = SEARCHES[name]
    journal.write(search, serial[name], tmp_path)
    known = journal.read(search, tmp_path)
    assert known == serial[name]
    oracle = build(search, {number: trial.outcome for number, trial in known.items()})
    assert oracle.next_trial() is None
    assert oracle.exhausted
    assert fake_search.finished_trials(search, oracle) == serial[name]


@pytest.mark.parametrize("name", ORACLES)
def test_an_exhausted_oracle_is_not_called_again(name, monkeypatch):
    search = fake_search.make_search(name, trials=5, space=THREE_RATES)
    serial = fake_search.run(search)
    oracle, calls = build(search, {}), []
    populate = oracle.populate_space
    monkeypatch.setattr(oracle, "populate_space", lambda key: calls.append(key) or populate(key))
    slow = oracle.next_trial()
    while not oracle.exhausted and (trial := oracle.next_trial()):
        record(search, oracle, trial)
    count = len(calls)
    assert [oracle.next_trial() for _ in range(30)] == [None] * 30
    assert len(calls) == count
    record(search, oracle, slow)
    while trial := oracle.next_trial():
        record(search, oracle, trial)
    assert fake_search.finished_trials(search, oracle) == serial
    assert oracle.expected_trials() == len(serial)


def record(search, oracle, trial) -> None:
    oracle.record(int(trial.trial_id), fake_search.formula(values_of(search, trial)))


def test_the_highest_seed_works():
    search = fake_search.make_search("bayesian", seed=2**32 - 2, trials=1)
    assert len(fake_search.run(search)) == 1


def test_shards_have_every_trial_once(serial):
    for name in SHARDABLE:
        shards = [fake_search.run(SEARCHES[name], skip=lambda n, k=k: n % 3 != k) for k in range(3)]
        assert sum(map(len, shards)) == SIZES[name]
        assert {n: trial for shard in shards for n, trial in shard.items()} == serial[name]


def test_choices_may_be_lists_and_a_range_may_have_a_single_point():
    space = (
        Dimension(("network.widths",), ([2, 2, 4], [4, 4, 8])),
        numeric_range("optimizer.learning_rate", low=1e-3, high=1e-2, points=1),
    )
    trials = fake_search.run(fake_search.make_search("grid", space=space))
    assert [trial.values["network.widths"] for trial in trials.values()] == [[2, 2, 4], [4, 4, 8]]
    assert len(fake_search.run(fake_search.make_search("random", space=space, trials=3))) == 3


def test_values_have_four_digits_and_inactive_ones_are_left_out(serial):
    for trial in serial["random"].values():
        rate = trial.values["optimizer.learning_rate"]
        assert float(f"{rate:.4g}") == rate
        truncated = trial.values["network.kernel_initializer"] == "TruncatedNormal"
        assert ("network.kernel_initializer.stddev" in trial.values) == truncated
    assert DEFAULT_SPACE[1].condition == ("network.kernel_initializer", "TruncatedNormal")
