from dataclasses import replace

import pytest

from experiments import catalog
from experiments.harness.spec import Experiment, UserError, Variant
from experiments.harness.spec.overrides import override, resolve, resolve_experiment
from tests.harness.spec.test_spec import ARM


def test_an_override_reaches_into_configs_and_leaves_the_arm_unchanged():
    changed = override(ARM, {"network.kernel_initializer.stddev": 1, "optimizer.momentum": 0.9})
    assert changed.network["config"]["kernel_initializer"]["config"] == {"stddev": 1.0}
    assert changed.optimizer["config"] == {"learning_rate": 1e-4, "momentum": 0.9}
    assert ARM.network["config"]["kernel_initializer"]["config"] == {"stddev": 0.1}


def test_a_config_may_become_an_identifier():
    changed = override(ARM, {"network.kernel_initializer": "glorot_uniform"})
    assert changed.network["config"]["kernel_initializer"] == "glorot_uniform"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("optimiser.learning_rate", 1.0, "did you mean 'optimizer'"),
        ("role", "diagnosis", "no field"),
        ("steps.each", 1, "no such setting 'steps.each'"),
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
def test_an_invalid_override_is_a_user_error(path, value, message):
    with pytest.raises(UserError, match=message):
        override(ARM, {path: value})


@pytest.mark.parametrize("name", catalog.names())
def test_every_arm_resolves_at_both_scales_and_overrides_come_last(name):
    experiment = catalog.load(name)
    for arm, miniature in experiment.at["mini"].items():
        documented = resolve(experiment, arm, "full")
        assert documented == experiment.at["full"][arm]
        assert resolve(experiment, arm, "mini") == miniature != documented
        assert resolve(experiment, arm, "mini", {"intervals": 7}).intervals == 7


def test_document_002_has_a_scale_that_keeps_its_protocol_and_narrows_the_network():
    experiments = [catalog.load(name) for name in catalog.names()]
    narrowed = [experiment for experiment in experiments if "protocol" in experiment.at]
    assert {e.name for e in narrowed} == {e.name for e in experiments if "002" in e.document}
    assert len(narrowed) == 7
    for experiment in narrowed:
        assert all(claim.bounds_at("protocol") == claim.bounds for claim in experiment.claims)
        assert list(experiment.at["protocol"]) == list(experiment.at["full"])
        for name, arm in experiment.at["protocol"].items():
            documented = experiment.at["full"][name]
            assert replace(arm, network=documented.network) == documented
            options, full = arm.network["config"], documented.network["config"]
            changed = {key: options[key] for key in options if options[key] != full.get(key)}
            assert changed == {"image_size": 67, "width": 0.25, "forward_gain": True}


def test_an_arm_without_the_scale_between_leaves_its_variants_without_it_too():
    arms = {"a": ARM, "b": Variant("a", {"steps": 7})}
    cost = {"mini": "", "full": ""}
    experiment = Experiment("t", "q", "d", arms, (), (), cost, mini={"steps": 3})
    assert set(resolve_experiment(experiment, catalog.load).at) == {"full", "mini"}
    narrowed = replace(experiment, protocol={"network.width": 0.5})
    at = resolve_experiment(narrowed, catalog.load).at["protocol"]
    assert {name: arm.steps for name, arm in at.items()} == {"a": 300, "b": 7}
    assert {arm.network["config"]["width"] for arm in at.values()} == {0.5}


def test_a_variant_is_another_arm_with_changes_or_that_arm_itself():
    decay, small = catalog.load("alexnet_lr_decay"), catalog.load("alexnet_small_init")
    assert decay.arm_ids["fixed_rate"] == "alexnet_small_init:as_documented"
    assert decay.arm_ids["decayed_rate"] == "alexnet_lr_decay:decayed_rate"
    for scale in ("full", "mini"):
        one, other = decay.at[scale]["fixed_rate"], small.at[scale]["as_documented"]
        assert one.identity() == other.identity()
        changed = override(other, {"schedule": [[30, 0.1], [50, 0.01], [70, 0.001]]})
        assert decay.at[scale]["decayed_rate"].identity() == changed.identity()


def test_an_arm_that_is_left_out_at_mini_is_a_user_error():
    experiment = catalog.load("depth_and_activation")
    (left_out, *_) = set(experiment.at["full"]) - set(experiment.at["mini"])
    with pytest.raises(UserError, match="at mini"):
        resolve(experiment, left_out, "mini")
