"""What is told of tensors that are not finite, from tensors made up."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.debugging.nan_cause import find_nan_cause
from experiments.debugging.step_tensors import StepTensor
from experiments.harness.training.stepper import Step
from zoo.losses import BareLogCrossentropy, RootOfSquare

FINE = np.array([[1.0, 2.0], [100.0, -4.0]], "float32")
STEP = Step(7, np.array([41, 12]), (FINE, np.array([1, 0])), np.nan, {}, {})
OUTPUT = StepTensor("activation", "output", "Dense", FINE, (FINE, FINE))
INF, NAN = np.inf, np.nan


def broken(values) -> np.ndarray:
    return np.array(values, "float32")


def test_where_all_is_finite_there_is_nothing_to_tell():
    assert find_nan_cause(STEP, [OUTPUT], {}) is None


def test_the_first_in_order_is_named_and_its_sample():
    made = [
        OUTPUT,
        StepTensor("term", "softmax", "BareLogCrossentropy", broken([[0.3, 0.7], [1, 0]])),
        StepTensor("term", "log", "BareLogCrossentropy", broken([[-1.2, -0.4], [0, -INF]])),
        StepTensor("term", "label_times_log", "BareLogCrossentropy", broken([[0, -0.4], [0, NAN]])),
        StepTensor("loss", "batch", "BareLogCrossentropy", broken(NAN)),
    ]
    story = find_nan_cause(STEP, made, BareLogCrossentropy.reasons)
    assert (story["tensor"], story["index"], story["nonfinite"]) == ("log", [1, 1], 1)
    assert story["why"] == BareLogCrossentropy.reasons["log"]
    assert story["sample"] == {
        "in_batch": 1,
        "in_training_split": 12,
        "label": 0,
        "output_argmax": 0,
        "largest_output": 100.0,
        "smallest_output": -4.0,
        "gap": 104.0,
    }
    assert list(story["trace"]) == ["output", "softmax", "log", "label_times_log"]
    assert story["trace"]["softmax"] == 0
    assert [link["tensor"] for link in story["chain"]] == ["log", "label_times_log", "batch"]
    assert "compiled" not in story


@pytest.mark.parametrize("own", [3.5, np.inf])
def test_a_loss_that_compiled_operations_made_otherwise_is_told(own):
    made = [OUTPUT, StepTensor("loss", "batch", "BareLogCrossentropy", broken(NAN))]
    assert find_nan_cause(replace(STEP, loss=own), made, {})["compiled"] == own


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (StepTensor("weight", "fc1/kernel", "kept", broken([NAN])), "it was so before the step"),
        (StepTensor("activation", "fc1", "Dense", broken([[INF]]), (FINE,)), "between -4 and 100"),
        (
            StepTensor("activation", "fc1", "Dense", broken([[NAN]]), (FINE,)),
            "has no defined value",
        ),
        (
            StepTensor("term", "square", "RootOfSquare", broken([INF])),
            "the terms before it are finite",
        ),
        (StepTensor("loss", "batch", "RootOfSquare", broken(INF)), "their sum is not"),
        (StepTensor("gradient", "fc1/bias", "derivative", broken([NAN])), "inf * 0 is NaN"),
        (StepTensor("update", "fc1/bias", "SGD", broken([NAN])), "computed by itself"),
    ],
)
def test_every_kind_of_tensor_has_a_reason(first, why):
    story = find_nan_cause(STEP, [OUTPUT, first], RootOfSquare.reasons)
    assert story["kind"] == first.kind
    assert why in story["why"]
