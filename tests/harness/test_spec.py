import json

import pytest

from experiments.harness.spec import Arm, UserError, config

ARM = Arm(
    network=config("alexnet", width=1.0, kernel_initializer=config("TruncatedNormal", stddev=0.1)),
    loss=config("zoo>BareLogCrossentropy"),
    optimizer=config("SGD", learning_rate=1e-4),
    batch_size=200,
    steps=300,
    intervals=50,
    schedule=((30, 0.1), (50, 0.01)),
)


def test_an_arm_prints_as_json_and_its_digest_ignores_what_is_only_told():
    assert json.loads(json.dumps(ARM.identity())) == ARM.identity()
    told = Arm(**{**vars(ARM), "about": "in other words", "role": "diagnosis"})
    assert told.digest() == ARM.digest()
    assert ARM.override({"steps": 301}).digest() != ARM.digest()


@pytest.mark.parametrize(
    ("finished", "factor"), [(0, 1.0), (29, 1.0), (30, 0.1), (49, 0.1), (50, 0.01), (99, 0.01)]
)
def test_the_schedule_changes_after_the_interval_it_names(finished, factor):
    assert ARM.learning_rate_factor(finished) == factor


def test_an_override_leads_through_configs_and_leaves_the_arm_alone():
    changed = ARM.override({"network.kernel_initializer.stddev": 1, "optimizer.momentum": 0.9})
    assert changed.network["config"]["kernel_initializer"]["config"] == {"stddev": 1.0}
    assert changed.optimizer["config"] == {"learning_rate": 1e-4, "momentum": 0.9}
    assert ARM.network["config"]["kernel_initializer"]["config"] == {"stddev": 0.1}


def test_a_config_may_become_an_identifier():
    changed = ARM.override({"network.kernel_initializer": "glorot_uniform"})
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
    ],
)
def test_a_change_that_cannot_be_made_is_told(path, value, words):
    with pytest.raises(UserError, match=words):
        ARM.override({path: value})
