"""A search from its start to its journal; its trials are not trained."""

import json
from pathlib import Path

import pytest

from experiments.harness.spec import Dimension, ProcessError
from experiments.tuning import journal, results, runner
from experiments.tuning.objectives import ORACLES
from experiments.tuning.search import SearchLocation
from tests.helpers import fake_search

RATES = (Dimension(("optimizer.learning_rate",), (1e-3, 3e-3, 1e-2, 3e-2)),)
FOUR_TRIALS = fake_search.make_search("grid", space=RATES)


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level("INFO", logger="rerun_zoo")


def run(path: Path, search=FOUR_TRIALS, train=fake_search.formula, jobs=1, **options):
    location, executor = SearchLocation(path, "none"), fake_search.FakeExecutor(train, jobs)
    return runner.run_search(search, location, executor, **options)


def read_journal(path: Path, search=FOUR_TRIALS) -> list[str]:
    file = journal.directory_of(search, path) / journal.FILE_NAME
    return [*json.loads(file.read_text())["trials"]]


def must_not_be_called(*_):
    raise AssertionError("called again")


def test_the_journal_is_written_after_each_trial(tmp_path):
    counts = []

    def train(values):
        counts.append(len(read_journal(tmp_path)) if counts else 0)
        return fake_search.formula(values)

    run(tmp_path, train=train)
    assert counts == [0, 1, 2, 3]


def test_a_complete_search_trains_nothing(tmp_path):
    complete = run(tmp_path)
    assert run(tmp_path, train=must_not_be_called) == complete


@pytest.mark.parametrize("name", ORACLES)
def test_three_at_a_time_answered_in_any_order_give_the_serial_trials(name, tmp_path):
    search = fake_search.make_search(name, trials=11)
    serial = fake_search.run(search)
    for seed in range(3):
        executor = fake_search.FakeExecutor(jobs=3, seed=seed)
        location = SearchLocation(tmp_path / f"{seed}", "none")
        trials = runner.run_search(search, location, executor)
        assert trials == serial
        assert executor.most == 3


def test_a_lost_trial_ends_the_search_which_resumes(tmp_path):
    def lose_third(values):
        if values["optimizer.learning_rate"] == 1e-2:
            raise ProcessError("trial 2 was given out 3 times and never finished")
        return fake_search.formula(values)

    with pytest.raises(ProcessError, match="trial 2"):
        run(tmp_path, train=lose_third)
    assert read_journal(tmp_path) == ["0", "1"]
    assert len(run(tmp_path)) == 4


def test_shards_count_their_own_trials_and_a_merged_search_resumes(tmp_path, caplog):
    for k in (1, 2):
        run(tmp_path / str(k), shard=(k, 2))
    assert [line[:5] for line in caplog.messages] == ["[1/2]", "[2/2]"] * 2
    assert "left" in caplog.messages[0]
    assert "left" not in caplog.messages[1]
    shards = [journal.directory_of(FOUR_TRIALS, tmp_path / k) for k in "12"]
    half = run(tmp_path / "half", merge=shards[:1])
    assert caplog.messages[-1] == "2 of 4 trials are missing from these shards"
    assert len(read_journal(tmp_path / "half")) == len(half) == 2
    complete = run(tmp_path / "all", merge=shards)
    assert run(tmp_path / "all", train=must_not_be_called) == complete
    assert len(complete) == 4


def test_a_shard_may_have_no_trials(tmp_path):
    paths = {k: tmp_path / str(k) for k in range(1, 6)}
    for k, path in paths.items():
        trials = run(path, shard=(k, 5))
        assert len(read_journal(path)) == len(trials) == (k < 5)
    assert "picture" not in results.write(
        FOUR_TRIALS, {}, journal.directory_of(FOUR_TRIALS, paths[5])
    )
    shards = [journal.directory_of(FOUR_TRIALS, path) for path in paths.values()]
    assert len(run(tmp_path / "all", merge=shards)) == 4


def test_no_trial_of_an_exhausted_space_is_missing(tmp_path, caplog):
    search = fake_search.make_search("random", trials=9, space=RATES)
    trials = run(tmp_path / "1", search)
    caplog.clear()
    shard = journal.directory_of(search, tmp_path / "1")
    assert run(tmp_path / "all", search, merge=[shard]) == trials
    assert len(trials) == 4
    assert not any("missing" in line for line in caplog.messages)
