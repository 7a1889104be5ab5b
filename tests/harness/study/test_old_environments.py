"""Runs of an older version, whose environments lack fields, and of other machines."""

from dataclasses import replace

import pytest

from experiments.harness.data import mnist
from experiments.harness.spec import UserError
from experiments.harness.study import run_one
from experiments.harness.training.options import TrainOptions
from experiments.verification.divergence import environment_differences
from tests.helpers import corrupted_runs
from tests.helpers.environment import ENVIRONMENT

DIGITS = mnist.load("digits")[0]
OLD = {name: value for name, value in ENVIRONMENT.items() if name != "caches"}


def test_a_run_from_before_caches_were_recorded_resumes_and_is_compared(tmp_path):
    old = corrupted_runs.plan_run(DIGITS, OLD, intervals=2)
    new = replace(old, environment=ENVIRONMENT)
    run_one.train_or_load(old, tmp_path, DIGITS, TrainOptions(stop_after=1))
    resumed = run_one.train_or_load(new, tmp_path, DIGITS)
    assert (resumed.status, resumed.spec.environment) == ("complete", OLD)
    assert run_one.load_existing(new, tmp_path) == resumed
    assert resumed.chain == run_one.train_or_load(new, tmp_path / "new", DIGITS).chain
    assert not environment_differences(OLD, ENVIRONMENT)
    assert not environment_differences(ENVIRONMENT, OLD)


def test_other_caches_are_another_environment(tmp_path):
    spec = corrupted_runs.plan_run(DIGITS, ENVIRONMENT, intervals=1)
    run_one.train_or_load(spec, tmp_path, DIGITS)
    other = ENVIRONMENT | {"caches": "L1d 48K"}
    with pytest.raises(UserError, match="caches"):
        run_one.train_or_load(replace(spec, environment=other), tmp_path, DIGITS)
    assert environment_differences(ENVIRONMENT, other)
