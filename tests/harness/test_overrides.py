import pytest

from experiments import catalog
from experiments.harness.overrides import override, resolve
from experiments.harness.spec import UserError
from tests.harness.test_spec import ARM


def test_an_override_leads_through_configs_and_leaves_the_arm_alone():
    changed = override(ARM, {"network.kernel_initializer.stddev": 1, "optimizer.momentum": 0.9})
    assert changed.network["config"]["kernel_initializer"]["config"] == {"stddev": 1.0}
    assert changed.optimizer["config"] == {"learning_rate": 1e-4, "momentum": 0.9}
    assert ARM.network["config"]["kernel_initializer"]["config"] == {"stddev": 0.1}


def test_a_config_may_become_an_identifier():
    changed = override(ARM, {"network.kernel_initializer": "glorot_uniform"})
    assert changed.network["config"]["kernel_initializer"] == "glorot_uniform"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("optimiser.learning_rate", 1.0, "did you mean 'optimizer'"),
        ("role", "diagnosis", "no field"),
        ("steps.each", 1, "leads nowhere"),
        ("network.kernel_initialiser.stddev", 1.0, "did you mean 'kernel_initializer'"),
        ("steps", "many", "another type"),
        ("steps", 1.5, "another type"),
        ("steps", True, "another type"),
        ("optimizer.learning_rate", "fast", "another type"),
        ("optimizer.learning_rate", None, "another type"),
        ("optimizer", 3, "another type"),
        ("schedule", 3, "another type"),
        ("schedule", [[1, 2, 3]], "another type"),
        ("steps", float("inf"), "another type"),
        ("steps", float("nan"), "another type"),
        ("network", {"a": 1}, "another type"),
        ("dataset", "digits", "no field"),
    ],
)
def test_a_change_that_cannot_be_made_is_told(path, value, words):
    with pytest.raises(UserError, match=words):
        override(ARM, {path: value})


@pytest.mark.parametrize("name", catalog.names())
def test_every_arm_resolves_at_both_scales_and_the_users_change_comes_last(name):
    experiment = catalog.load(name)
    for arm, documented in experiment.arms.items():
        assert resolve(experiment, arm, "full") == documented
        assert resolve(experiment, arm, "mini") != documented
        assert resolve(experiment, arm, "mini", {"intervals": 7}).intervals == 7
