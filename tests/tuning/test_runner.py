"""A search from its start to its journal; its trials are not trained."""

import json
from pathlib import Path

import pytest

from experiments.harness.spec import Dimension
from experiments.tuning import journal, results, runner
from experiments.tuning.distributed.chief import WorkerOptions
from experiments.tuning.search import SearchLocation
from tests.helpers import fake_search

RATES = (Dimension(("optimizer.learning_rate",), (1e-3, 3e-3, 1e-2, 3e-2)),)
FOUR_TRIALS = fake_search.make_search("grid", space=RATES)


@pytest.fixture(autouse=True)
def set_train(monkeypatch):
    """Return a function that sets the function that trains a trial."""

    def set_function(train):
        monkeypatch.setattr(runner, "trial_function", lambda *_: train)

    set_function(fake_search.formula)
    return set_function


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level("INFO", logger="rerun_zoo")


def run(path: Path, search=FOUR_TRIALS, workers=WorkerOptions(), **options):  # noqa: B008
    return runner.run_search(search, SearchLocation(path, "none"), None, workers, **options)


def read_journal(path: Path, search=FOUR_TRIALS) -> list[str]:
    file = journal.directory_of(search, path) / journal.FILE_NAME
    return [*json.loads(file.read_text())["trials"]]


def must_not_be_called(*_):
    raise AssertionError("called again")


def test_the_journal_is_written_after_each_trial(set_train, tmp_path):
    counts = []

    def train(values):
        counts.append(len(read_journal(tmp_path)) if counts else 0)
        return fake_search.formula(values)

    set_train(train)
    run(tmp_path)
    assert counts == [0, 1, 2, 3]


def test_a_complete_search_starts_no_server(tmp_path, monkeypatch):
    complete = run(tmp_path)
    monkeypatch.setattr("experiments.tuning.distributed.chief.open_server", must_not_be_called)
    assert run(tmp_path, workers=WorkerOptions(jobs=2, address="127.0.0.1:0")) == complete


def test_shards_count_their_own_trials_and_a_merged_search_resumes(set_train, tmp_path, caplog):
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
    set_train(must_not_be_called)
    assert run(tmp_path / "all") == complete
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
