"""Arms, seeds and sources of a request: what is given counts, and nothing given means all."""

import numpy as np
import pytest

from experiments import catalog
from experiments.harness.spec import UserError, identity
from experiments.harness.study.plan import StudyRequest, plan_study
from tests.helpers.environment import ENVIRONMENT
from tests.helpers.planning import NO_DATA

EXPERIMENT = catalog.load("init_std_sweep")


def plan(**request):
    request = StudyRequest(EXPERIMENT, "mini", **request)
    return plan_study(request, ENVIRONMENT, lambda *_: (NO_DATA, None))


def test_by_default_all_arms_and_seeds_are_planned():
    study = plan()
    assert study.covers_everything
    assert {spec.seed for spec in study.specs} == set(EXPERIMENT.seeds) == {0, 1, 2}
    assert len(study.specs) == 3 * len(EXPERIMENT.at["mini"])


@pytest.mark.parametrize(
    "seeds", [[0], (0,), range(1), np.arange(1), np.zeros(1, "u4"), [np.int8(0)], [0, 0]]
)
def test_seed_zero_is_a_seed_of_any_integer_type(seeds):
    (spec,) = plan(arms=["std_0.1"], seeds=seeds).specs
    assert spec.seed == 0
    assert type(spec.seed) is int, "run.json has it as a number"


@pytest.mark.parametrize(
    "seeds", [[-1], [2**32], [1.0], ["1"], [True], [np.True_], [None], np.zeros((1, 1)), [[0]]]
)
def test_a_seed_that_is_not_a_whole_number_is_refused(seeds):
    with pytest.raises(UserError, match="a seed must be a whole number"):
        plan(arms=["std_0.1"], seeds=seeds)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"seeds": []}, "no seeds are chosen"),
        ({"seeds": np.array([], int)}, "no seeds are chosen"),
        ({"seeds": range(0)}, "no seeds are chosen"),
        ({"arms": []}, "no arms are chosen"),
        ({"arms": [""]}, "has no arm ''|unknown arm ''"),
        ({"arms": [0]}, "arms are named by strings"),
        ({"data": [""]}, "--data is empty"),
        ({"data": [":validation"]}, "--data is empty"),
    ],
)
def test_an_empty_choice_is_an_error_and_not_everything(request_, message):
    with pytest.raises(UserError, match=message) as error:
        plan(**request_)
    assert "\n" not in str(error.value)


def test_the_source_of_the_data_is_planned_as_a_path_outside_of_the_identity(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = {"arms": ["std_0.1"], "seeds": [0]}
    (built_in,) = plan(**chosen, data=["digits"]).specs
    (named,) = plan(**chosen, data=["own.npz"]).specs
    (split,) = plan(**chosen, data=["own.npz:validation"]).specs
    assert built_in.data_source is None
    assert named.data_source == split.data_source == str(tmp_path / "own.npz")
    assert identity.run_id(named) == identity.run_id(built_in)
