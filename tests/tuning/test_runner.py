"""A search from its beginning to its journal; its trials are pretended."""

import json
from pathlib import Path

import pytest

from experiments.harness.spec import Dimension
from experiments.tuning import journal, results, runner
from experiments.tuning.distributed.chief import Sharing
from experiments.tuning.search import SearchLocation
from tests.helpers import fake_search

RATES = (Dimension(("optimizer.learning_rate",), (1e-3, 3e-3, 1e-2, 3e-2)),)
FOUR = fake_search.search("grid", space=RATES)


@pytest.fixture(autouse=True)
def train(monkeypatch):
    """Return the function that takes what trains a trial from now on."""

    def take(formula):
        monkeypatch.setattr(runner, "trainer", lambda *_: formula)

    take(fake_search.formula)
    return take


def conducted(path: Path, told=FOUR, **options):
    options.setdefault("tell", lambda _: None)
    return runner.run_search(told, SearchLocation(path, "none"), None, Sharing(), **options)


def read_journal(path: Path, told=FOUR) -> list[str]:
    return [*json.loads((journal.directory(told, path) / journal.FILE_NAME).read_text())["trials"]]


def refuse(*_):
    raise AssertionError("a trial is trained again")


def test_the_journal_is_written_after_each_trial(train, tmp_path):
    known = []

    def look(values):
        known.append(len(read_journal(tmp_path)) if known else 0)
        return fake_search.formula(values)

    train(look)
    conducted(tmp_path)
    assert known == [0, 1, 2, 3]


def test_a_search_that_is_whole_starts_and_waits_for_nobody(tmp_path, monkeypatch):
    whole = conducted(tmp_path)
    monkeypatch.setattr("experiments.tuning.distributed.chief.serving", refuse)
    sharing = Sharing(jobs=2, address="127.0.0.1:0")
    assert runner.run_search(FOUR, SearchLocation(tmp_path, "none"), None, sharing) == whole


def test_shards_count_their_own_trials_and_joined_they_are_gone_on_with(train, tmp_path):
    lines = []
    for k in (1, 2):
        conducted(tmp_path / str(k), shard=(k, 2), tell=lines.append)
    assert [line[:5] for line in lines] == ["[1/2]", "[2/2]"] * 2
    assert "left" in lines[0]
    assert "left" not in lines[1]
    folders = [journal.directory(FOUR, tmp_path / k) for k in "12"]
    half = conducted(tmp_path / "half", known=folders[:1], tell=lines.append)
    assert lines[-1] == "2 of 4 trials are missing: in no shard yet"
    assert len(read_journal(tmp_path / "half")) == len(half) == 2
    whole = conducted(tmp_path / "all", known=folders)
    train(refuse)
    assert conducted(tmp_path / "all") == whole
    assert len(whole) == 4


def test_a_shard_without_trials_is_a_shard(tmp_path):
    paths = {k: tmp_path / str(k) for k in range(1, 6)}
    for k, path in paths.items():
        trials = conducted(path, shard=(k, 5))
        assert len(read_journal(path)) == len(trials) == (k < 5)
    assert "picture" not in results.write(FOUR, {}, journal.directory(FOUR, paths[5]))
    folders = [journal.directory(FOUR, path) for path in paths.values()]
    assert len(conducted(tmp_path / "all", known=folders)) == 4


def test_of_a_space_that_is_exhausted_no_trial_is_missing(tmp_path):
    told, lines = fake_search.search("random", trials=9, space=RATES), []
    trials = conducted(tmp_path / "1", told)
    folder = journal.directory(told, tmp_path / "1")
    assert conducted(tmp_path / "all", told, known=[folder], tell=lines.append) == trials
    assert len(trials) == 4
    assert not any("missing" in line for line in lines)
