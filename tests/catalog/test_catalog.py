"""What every experiment must be, whichever there are."""

import importlib

import pytest

from experiments import catalog
from experiments.harness.overrides import resolve
from experiments.harness.spec import UserError

EXPERIMENTS = [catalog.load(name) for name in catalog.names()]
ARMS = [(experiment, arm) for experiment in EXPERIMENTS for arm in experiment.arms]


def test_there_are_experiments_and_an_unknown_one_is_told():
    assert EXPERIMENTS
    with pytest.raises(UserError, match="did you mean 'alexnet_lr_decay'"):
        catalog.load("alexnet_lr_decoy")


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_it_is_whole(experiment):
    module = importlib.import_module(f"experiments.catalog.{experiment.name}")
    assert f"python -m experiments.reproduce {experiment.name}" in module.__doc__
    assert experiment.question.endswith("?")
    assert experiment.document
    assert experiment.deviations
    assert experiment.claims
    assert set(experiment.cost) == {"mini", "full"}
    assert {arm.role for arm in experiment.arms.values()} <= {"documented", "diagnosis"}
    assert set(experiment.documented) <= set(experiment.arms)
    for printed in experiment.documented.values():
        assert all(len(row) == len(printed.columns) for row in printed.rows.values())


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_the_documents_own_numbers_fall_within_the_bounds_at_full_scale(experiment):
    for claim in experiment.claims:
        for scale in ("full", "mini"):
            low, high = claim.bounds_at(scale)
            assert low <= high
        if claim.documented != "-":
            low, high = claim.bounds
            assert low <= float(claim.documented) <= high, claim.text


@pytest.mark.parametrize("scale", ["mini", "full"])
@pytest.mark.parametrize(
    ("experiment", "arm"), ARMS, ids=lambda value: getattr(value, "name", value)
)
def test_every_arm_can_be_built_and_compiled(experiment, arm, scale):
    from experiments.harness.training import compiled

    model = compiled(resolve(experiment, arm, scale))
    assert model.compiled
    assert model.count_params() > 0
