import json
from dataclasses import replace

import pytest

from experiments.harness.spec import Arm, config

ARM = Arm(
    network=config("alexnet", width=1.0, kernel_initializer=config("TruncatedNormal", stddev=0.1)),
    loss=config("zoo>BareLogCrossentropy"),
    optimizer=config("SGD", learning_rate=1e-4),
    batch_size=200,
    steps=300,
    intervals=50,
    schedule=((30, 0.1), (50, 0.01)),
)


def test_an_arms_identity_is_json_without_its_role_and_description():
    assert json.loads(json.dumps(ARM.identity())) == ARM.identity()
    described = replace(ARM, about="another description", role="diagnosis")
    assert described.identity() == ARM.identity()
    assert replace(ARM, steps=301).identity() != ARM.identity()


@pytest.mark.parametrize(
    ("finished", "factor"), [(0, 1.0), (29, 1.0), (30, 0.1), (49, 0.1), (50, 0.01), (99, 0.01)]
)
def test_the_schedule_applies_from_the_interval_it_names(finished, factor):
    assert ARM.learning_rate_factor(finished) == factor
