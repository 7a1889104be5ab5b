"""How far a run has come, which runs of a batch train on together, and which are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments.harness.data import mnist, sources
from experiments.harness.spec import History, Run, UserError, batching
from experiments.harness.storage import checkpoint, run_record
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.storage.run_directory import directory_of
from experiments.harness.study import run_one
from tests.helpers.planning import plan_specs

START = Checkpoint("", 0, {}, {}, History(), ("",), ({},), 0.0, 0.0)


@pytest.fixture
def batch():
    """Return four runs that can train as one program, seeds 0 to 3."""
    specs = plan_specs("alexnet_lr_decay", ["fixed_rate"], range(4), {}, {"backend": "jax"})
    return [batching.mark_batched(spec, batching.IN_TURN) for spec in specs]


def save_checkpoint(spec, logdir, interval: int) -> None:
    directory = directory_of(spec, logdir)
    directory.mkdir(parents=True)
    checkpoint.save(replace(START, interval=interval), directory / "state")


def test_runs_that_train_together_are_at_most_an_interval_apart(batch, tmp_path):
    for spec, interval in zip(batch, (3, 9, 2, 3), strict=True):
        save_checkpoint(spec, tmp_path, interval)
    groups = run_one.group_by_progress(batch, tmp_path)
    assert [[spec.seed for spec in group] for group in groups] == [[2, 0, 3], [1]]


def test_runs_without_a_checkpoint_train_together(batch, tmp_path):
    assert run_one.group_by_progress(batch, tmp_path) == [batch]
    assert not [*tmp_path.iterdir()]


def test_progress_is_the_newest_valid_checkpoint(tmp_path):
    assert run_one.last_checkpoint(tmp_path) == 0
    for interval in range(3):
        checkpoint.save(replace(START, interval=interval), tmp_path / "state")
    assert run_one.last_checkpoint(tmp_path) == 2
    checkpoint.path(tmp_path / "state", 2).write_text("damaged")
    assert run_one.last_checkpoint(tmp_path) == 1


def plan_on(source, **changes):
    data, _ = sources.load("mnist", str(source))
    (spec,) = plan_specs("alexnet_lr_decay", ["fixed_rate"], [0], {}, {"backend": "jax"}, data)
    return replace(spec, data_source=sources.absolute_path(str(source)), **changes)


def save_record(spec, logdir) -> None:
    directory = directory_of(spec, logdir)
    directory.mkdir(parents=True, exist_ok=True)
    run_record.save(Run(spec, chain=("0" * 64,), digests=({},)), directory)


def refusal(old, new, logdir) -> str:
    """Return what is said to a run planned where an ``old`` one is."""
    save_record(old, logdir)
    with pytest.raises(UserError) as error:
        run_one.load_existing(new, logdir)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith("name another --logdir, or start over with --fresh")
    return message


def test_a_run_on_other_data_is_refused_by_names_and_by_what_continues_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits, new = plan_on("digits"), plan_on("mnist5k")
    arrays = mnist.load("digits")[0]
    np.savez("my own.npz", **{name: getattr(arrays, name)[:500] for name in mnist.ARRAYS})
    message = refusal(digits, new, tmp_path)
    assert "dataset: digits (sha256 " in message
    assert " there, mnist5k (sha256 5eea7b2e46111cc4) here; give --data digits, " in message
    own = plan_on("my own.npz")
    assert f"give --data '{tmp_path}/my own.npz', " in refusal(own, new, tmp_path)
    assert "give --data mnist5k, " in refusal(new, own, tmp_path)


def test_other_data_is_named_as_the_remedy_only_if_it_is_one(tmp_path):
    digits, new = plan_on("digits"), plan_on("mnist5k")
    real = replace(digits, dataset={"name": "mnist", "sha256": "0" * 64, "stand_in": False})
    message = refusal(real, new, tmp_path)
    assert "mnist (sha256 0000000000000000) there" in message
    assert "give --data" not in message, "mnist may be mnist5k here"
    elsewhere = replace(digits, environment={"backend": "torch"})
    assert "give --data" not in refusal(elsewhere, new, tmp_path)


def test_the_same_data_by_another_name_is_the_same_run(tmp_path):
    digits = plan_on("digits")
    renamed = replace(digits, dataset=digits.dataset | {"name": "own.npz"})
    save_record(renamed, tmp_path)
    assert run_one.load_existing(digits, tmp_path)


def test_a_run_counts_how_often_it_was_resumed(batch, tmp_path):
    spec = batch[0]
    directory = directory_of(spec, tmp_path)
    directory.mkdir(parents=True)
    found, counts = None, []
    for _ in range(3):
        run_record.save(run_one._start(spec, found, directory), directory)
        found = run_one.load_existing(spec, tmp_path)
        counts.append(found.resumed)
    assert counts == [0, 1, 2]
    path = directory / "run.json"
    record = json.loads(path.read_text())
    del record["resumed"], record["cpu_seconds"]  # an older one
    path.write_text(json.dumps(record))
    old = run_one.load_existing(spec, tmp_path)
    assert old.cpu_seconds is None
    assert run_one._start(spec, old, directory).resumed is None
    (directory / "state").mkdir()  # its record is lost
    assert run_one._start(spec, None, directory).resumed is None
