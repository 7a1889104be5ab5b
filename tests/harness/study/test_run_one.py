import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from experiments import catalog
from experiments.harness.spec import batching
from experiments.harness.storage import checkpoint
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.study import plan, run_one


@pytest.fixture
def group():
    """Return four runs that are trained together, seeds 0 to 3."""
    runs = plan.plan_runs(
        catalog.load("alexnet_lr_decay"),
        "mini",
        arms=["fixed_rate"],
        seeds=range(4),
        changes={},
        data={"mnist": {"name": "digits", "sha256": "0", "stand_in": True}},
        environment={"backend": "jax"},
    )
    return [batching.mark_batched(run, batching.IN_TURN) for run in runs]


@pytest.fixture
def trained(monkeypatch):
    """Train nothing; return the seeds that were asked for together, in order."""
    parts: list[list[int]] = []

    def train(begun, *_, **__):
        parts.append([run.seed for run in begun])
        return begun

    stub = SimpleNamespace(train=train)
    monkeypatch.setitem(sys.modules, "experiments.harness.training.batched.trainer", stub)
    return parts


def test_what_is_trained_together_is_an_interval_apart_at_most(
    group, trained, monkeypatch, tmp_path
):
    came = {"seed0": 3, "seed1": 9, "seed2": 2, "seed3": 3}
    monkeypatch.setattr(run_one, "_came", lambda directory: came[directory.name])
    made = run_one.train_or_load_batch(group, tmp_path, None, intervals=20)
    assert trained == [[2, 0, 3], [1]]
    assert [run.seed for run in made.values()] == [0, 1, 2, 3]
    run_one.train_or_load_batch(group, tmp_path, None, deadline=time.monotonic(), begin=True)
    assert trained[2:] == [[2, 0, 3]]  # for the other part there is no time


def test_a_group_is_not_begun_when_time_is_over_unless_told_to(group, trained, tmp_path):
    over = time.monotonic()
    made = run_one.train_or_load_batch(group, tmp_path, None, deadline=over)
    assert (trained, [*tmp_path.iterdir()]) == ([], [])
    assert not any(run.chain for run in made.values())
    run_one.train_or_load_batch(group, tmp_path, None, deadline=over, begin=True)
    assert trained == [[0, 1, 2, 3]]


def test_a_run_came_as_far_as_its_newest_sound_state(tmp_path):
    assert run_one.last_checkpoint(tmp_path) == 0
    begun = Checkpoint("", 0, {}, {}, (), ("",), ({},), 0.0)
    for interval in range(3):
        checkpoint.save(replace(begun, interval=interval), tmp_path / "state")
    assert run_one.last_checkpoint(tmp_path) == 2
    checkpoint.path(tmp_path / "state", 2).write_text("no state")
    assert run_one.last_checkpoint(tmp_path) == 1
