"""Which runs of a study are trained, and which may still start after the deadline."""

import math
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from experiments import catalog
from experiments.harness.data import mnist
from experiments.harness.spec import History, Run, UserError
from experiments.harness.storage import checkpoint, run_directory, run_record
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.study import execute
from experiments.harness.study.execute import StartGate, run_studies
from experiments.harness.study.plan import Study, StudyRequest, plan_study
from experiments.harness.training.options import TrainOptions
from tests.helpers.corrupted_runs import TINY
from tests.helpers.environment import ENVIRONMENT
from tests.helpers.planning import NO_DATA

DIGITS = mnist.load("digits")[0]
EXPERIMENT = catalog.load("alexnet_lr_decay")
JAX = {**ENVIRONMENT, "backend": "jax", "device": "cpu", "versions": {"jax": "0"}}


def plan(*arms: str, seeds=(0,), environment=ENVIRONMENT, dataset=DIGITS, batch_runs=None) -> Study:
    request = StudyRequest(EXPERIMENT, "mini", arms or None, seeds, (), TINY, batch_runs)
    return plan_study(request, environment, lambda *_: (dataset, None))


def past() -> TrainOptions:
    return TrainOptions(deadline=time.monotonic(), telemetry_every=0)


def save_record(spec, logdir, intervals: int, status: str) -> None:
    directory = run_directory.directory_of(spec, logdir)
    directory.mkdir(parents=True)
    row = {"step": 0, "loss": 1.0, "test_loss": 1.0}
    chain = tuple(f"{k:064x}" for k in range(intervals + 1))
    run = Run(spec, status, {}, History((row,) * intervals), chain, ({},) * len(chain))
    run_record.save(run, directory)


def test_before_the_deadline_every_run_may_start(tmp_path):
    study = plan("fixed_rate", "decayed_rate", dataset=NO_DATA)
    for deadline in (math.inf, time.monotonic() + 3600):
        gate = StartGate([study], tmp_path, TrainOptions(deadline=deadline))
        assert [gate.may_start(spec) for spec in study.specs * 2] == [True] * 4


def test_after_the_deadline_only_the_first_unfinished_run_may_start_once(tmp_path):
    first, second, third = specs = plan("fixed_rate", seeds=range(3), dataset=NO_DATA).specs
    save_record(first, tmp_path, 4, "complete")
    gate = StartGate([plan("fixed_rate", seeds=range(3), dataset=NO_DATA)], tmp_path, past())
    assert [gate.may_start(spec) for spec in specs] == [False, True, False]
    assert not gate.may_start(second)
    save_record(second, tmp_path, 2, "partial")
    options = replace(past(), stop_after=2)
    gate = StartGate([plan("fixed_rate", seeds=range(3), dataset=NO_DATA)], tmp_path, options)
    assert [gate.may_start(spec) for spec in specs] == [False, False, True]
    assert third.seed == 2


def test_the_studies_of_one_call_share_the_first_run(tmp_path):
    studies = [plan("fixed_rate", dataset=NO_DATA), plan("decayed_rate", dataset=NO_DATA)]
    gate = StartGate(studies, tmp_path, past())
    assert [gate.may_start(*study.specs) for study in studies] == [True, False]


@pytest.fixture
def trained_batches(monkeypatch):
    """Train nothing; return the seeds of each batch that would train, in order."""
    seeds: list[list[int]] = []

    def train(runs, *_, **__):
        seeds.append([run.spec.seed for run in runs])
        return runs

    stub = SimpleNamespace(train=train)
    monkeypatch.setitem(sys.modules, "experiments.harness.training.batched.trainer", stub)
    monkeypatch.setattr(execute.run_one, "train_or_load", pytest.fail)
    return seeds


def test_a_batch_trains_in_groups_and_after_the_deadline_only_the_first(trained_batches, tmp_path):
    study = plan("fixed_rate", seeds=range(4), environment=JAX, dataset=NO_DATA, batch_runs=0)
    start = Checkpoint("", 0, {}, {}, History(), ("",), ({},), 0.0, 0.0)
    for spec, interval in zip(study.specs, (3, 9, 2, 3), strict=True):
        directory = run_directory.directory_of(spec, tmp_path)
        directory.mkdir(parents=True)
        checkpoint.save(replace(start, interval=interval), directory / "state")
    assert not [*run_studies([study], tmp_path)]  # the stub's runs have no results
    assert trained_batches == [[2, 0, 3], [1]]
    trained_batches.clear()
    assert not [*run_studies([study], tmp_path, past())]
    assert trained_batches == [[2, 0, 3]]


def test_after_the_deadline_an_interval_of_one_run_is_trained_and_other_studies_are_skipped(
    tmp_path,
):
    studies = [plan("fixed_rate", "decayed_rate"), plan("fixed_rate_stable_loss")]
    started = []
    for interval in (1, 2):
        results = [*run_studies(studies, tmp_path, past(), on_study_start=started.append)]
        (run,) = results[0].runs
        assert len(results) == 1
        assert (run.spec, run.status) == (studies[0].specs[0], "partial")
        assert run.intervals == interval
    assert started == studies * 2
    assert not run_directory.directory_of(studies[1].specs[0], tmp_path).exists()


def test_unusable_options_are_user_errors(tmp_path):
    study = plan("fixed_rate", dataset=NO_DATA)
    with pytest.raises(UserError, match="stop_after must be 1 or more, not 0"):
        next(run_studies([study], tmp_path, TrainOptions(stop_after=0)))
    batched = plan("fixed_rate", seeds=(0, 1), environment=JAX, dataset=NO_DATA, batch_runs=0)
    with pytest.raises(UserError, match="in batches or in several processes, not both"):
        next(run_studies([batched], tmp_path, jobs=2))
    for studies, jobs in (([batched], 1), ([study], 2)):
        with pytest.raises(UserError, match="callbacks need runs trained one by one"):
            next(run_studies(studies, tmp_path, TrainOptions(callbacks=[object()]), jobs=jobs))
