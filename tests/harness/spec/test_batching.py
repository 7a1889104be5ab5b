from dataclasses import replace

import pytest

from experiments import catalog
from experiments.harness.spec import Run, UserError, batching
from experiments.harness.study import plan

CPU = {"backend": "jax", "device": "cpu"}
GPU = {"backend": "jax", "device": "a GPU"}
STDS = ["std_0.03", "std_0.1"]


def planned(
    environment=CPU, arms=STDS, seeds=(0, 1), name="init_std_sweep", **changes
) -> list[Run]:
    return plan.plan_runs(
        catalog.load(name), "mini", arms=arms, seeds=seeds, changes=changes,
        data={"mnist": {"sha256": "0"}}, environment=environment,
    )  # fmt: skip


def told(groups) -> list[list[str]]:
    return [[run.environment["together"] for run in group] for group in groups]


def test_initial_values_seeds_rates_and_schedules_make_no_other_program():
    runs = planned()
    slow = planned(**{"optimizer.learning_rate": 1e-5, "schedule": [[2, 0.1]]})
    other = planned(**{"network.kernel_initializer": "he_normal"})
    assert batching.compatible_groups([*runs, *slow, *other]) == [[*runs, *slow, *other]]


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 7},
        {"steps": 7},
        {"optimizer": "SGD"},
        {"optimizer.epsilon": 1e-3},
        {"network.dropout": 0.25},
        {"frozen": ["bias"]},
    ],
)
def test_anything_else_does(changes):
    runs, others = planned(), planned(**changes)
    assert batching.compatible_groups([*runs, *others]) == [runs, others]
    elsewhere = [replace(run, dataset={"sha256": "1"}) for run in runs]
    assert batching.compatible_groups([*runs, *elsewhere]) == [runs, elsewhere]


def test_the_environment_says_what_decides_bits():
    assert told(batching.group_runs(planned(), 0)) == [["in turn"] * 4]
    assert told(batching.group_runs(planned(GPU), 0)) == [[f"{k} of 4" for k in (1, 2, 3, 4)]]
    assert told(batching.group_runs(planned(GPU), 3)) == [[f"{k} of 3" for k in (1, 2, 3)]]
    assert planned()[0].environment == CPU


def test_the_documented_sweep_is_one_group():
    sweep = catalog.load("init_std_sweep")
    runs = planned(GPU, arms=sweep.at["full"], seeds=sweep.seeds)
    (group,) = batching.group_runs(runs, 0)
    assert [batching.position(run) for run in group] == [(k, 27) for k in range(27)]


def test_runs_that_cannot_be_trained_together_are_refused():
    with pytest.raises(UserError, match="one run cannot be trained together"):
        batching.group_runs(planned(arms=["std_0.1"], seeds=[0]), 0)
    with pytest.raises(UserError, match="no two of these runs"):
        batching.group_runs([planned()[0], planned(batch_size=7)[1]], 0)
    with pytest.raises(UserError, match="takes KERAS_BACKEND=jax, not torch"):
        batching.group_runs(planned({"backend": "torch", "device": "cpu"}), 0)
    for most in (True, False, 1, -2):
        with pytest.raises(UserError, match=f"2 or more, or 0 for all at once, not {most}"):
            batching.group_runs(planned(), most)


@pytest.mark.parametrize(
    ("how", "sound"),
    [
        ("in turn", True),
        ("2 of 27", True),
        ("0 of 3", False),
        ("3 of 2", False),
        ("1 of 99999", False),
        (4, False),
    ],
)
def test_what_a_record_may_say(how, sound):
    assert batching.is_batch_mode(how) == sound
