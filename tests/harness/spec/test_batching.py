from dataclasses import replace

import pytest

from experiments import catalog
from experiments.harness.spec import RunSpec, UserError, batching
from tests.helpers.planning import plan_specs

CPU = {"backend": "jax", "device": "cpu"}
GPU = {"backend": "jax", "device": "a GPU"}
STDS = ["std_0.03", "std_0.1"]


def plan_runs(environment=CPU, arms=STDS, seeds=(0, 1), **overrides) -> list[RunSpec]:
    return plan_specs("init_std_sweep", arms, seeds, overrides, environment)


def modes(batches) -> list[list[str]]:
    return [[run.environment["together"] for run in batch] for batch in batches]


def test_initial_values_seeds_rates_and_schedules_share_a_program():
    runs = plan_runs()
    slow = plan_runs(**{"optimizer.learning_rate": 1e-5, "schedule": [[2, 0.1]]})
    other = plan_runs(**{"network.kernel_initializer": "he_normal"})
    assert batching.compatible_groups([*runs, *slow, *other]) == [[*runs, *slow, *other]]


@pytest.mark.parametrize(
    "overrides",
    [
        {"batch_size": 7},
        {"steps": 7},
        {"optimizer": "SGD"},
        {"optimizer.epsilon": 1e-3},
        {"network.dropout": 0.25},
        {"frozen": ["bias"]},
    ],
)
def test_any_other_difference_needs_another_program(overrides):
    runs, others = plan_runs(), plan_runs(**overrides)
    assert batching.compatible_groups([*runs, *others]) == [runs, others]
    elsewhere = [replace(run, dataset={"sha256": "1"}) for run in runs]
    assert batching.compatible_groups([*runs, *elsewhere]) == [runs, elsewhere]


def test_the_environment_records_how_a_run_is_batched():
    assert modes(batching.group_runs(plan_runs(), 0)) == [["in turn"] * 4]
    assert modes(batching.group_runs(plan_runs(GPU), 0)) == [[f"{k} of 4" for k in (1, 2, 3, 4)]]
    assert modes(batching.group_runs(plan_runs(GPU), 3)) == [[f"{k} of 3" for k in (1, 2, 3)]]
    assert plan_runs()[0].environment == CPU


def test_the_documented_sweep_is_one_batch():
    sweep = catalog.load("init_std_sweep")
    runs = plan_runs(GPU, arms=sweep.at["full"], seeds=sweep.seeds)
    (batch,) = batching.group_runs(runs, 0)
    assert [batching.position(run) for run in batch] == [(k, 27) for k in range(27)]


def test_runs_that_cannot_be_batched_are_refused():
    with pytest.raises(UserError, match="one run cannot be batched"):
        batching.group_runs(plan_runs(arms=["std_0.1"], seeds=[0]), 0)
    with pytest.raises(UserError, match="no two of these runs"):
        batching.group_runs([plan_runs()[0], plan_runs(batch_size=7)[1]], 0)
    with pytest.raises(UserError, match="needs KERAS_BACKEND=jax, not torch"):
        batching.group_runs(plan_runs({"backend": "torch", "device": "cpu"}), 0)
    for most in (True, False, 1, -2):
        with pytest.raises(UserError, match=f"2 or more, or 0 for no limit, not {most}"):
            batching.group_runs(plan_runs(), most)


@pytest.mark.parametrize(
    ("mode", "valid"),
    [
        ("in turn", True),
        ("2 of 27", True),
        ("0 of 3", False),
        ("3 of 2", False),
        ("1 of 99999", False),
        (4, False),
    ],
)
def test_valid_records_of_a_batch(mode, valid):
    assert batching.is_batch_mode(mode) == valid
