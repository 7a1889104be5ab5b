"""How far a run has come, and which runs of a batch train on together."""

from dataclasses import replace

import pytest

from experiments.harness.spec import History, batching
from experiments.harness.storage import checkpoint
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.storage.run_directory import directory_of
from experiments.harness.study import run_one
from tests.helpers.planning import plan_specs

START = Checkpoint("", 0, {}, {}, History(), ("",), ({},), 0.0)


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
