"""The cause of a NaN, found in made-up tensors."""

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


def array(values) -> np.ndarray:
    return np.array(values, "float32")


def test_finite_tensors_have_no_cause():
    assert find_nan_cause(STEP, [OUTPUT], {}) is None


def test_the_first_nonfinite_tensor_and_its_sample_are_named():
    tensors = [
        OUTPUT,
        StepTensor("term", "softmax", "BareLogCrossentropy", array([[0.3, 0.7], [1, 0]])),
        StepTensor("term", "log", "BareLogCrossentropy", array([[-1.2, -0.4], [0, -INF]])),
        StepTensor("term", "label_times_log", "BareLogCrossentropy", array([[0, -0.4], [0, NAN]])),
        StepTensor("loss", "batch", "BareLogCrossentropy", array(NAN)),
    ]
    cause = find_nan_cause(STEP, tensors, BareLogCrossentropy.reasons)
    assert (cause["tensor"], cause["index"], cause["nonfinite"]) == ("log", [1, 1], 1)
    assert cause["why"] == BareLogCrossentropy.reasons["log"]
    assert cause["sample"] == {
        "in_batch": 1,
        "in_training_split": 12,
        "label": 0,
        "output_argmax": 0,
        "largest_output": 100.0,
        "smallest_output": -4.0,
        "gap": 104.0,
    }
    assert list(cause["trace"]) == ["output", "softmax", "log", "label_times_log"]
    assert cause["trace"]["softmax"] == 0
    assert [link["tensor"] for link in cause["chain"]] == ["log", "label_times_log", "batch"]
    assert "compiled" not in cause


@pytest.mark.parametrize("own", [3.5, np.inf])
def test_a_different_loss_of_compiled_operations_is_shown(own):
    tensors = [OUTPUT, StepTensor("loss", "batch", "BareLogCrossentropy", array(NAN))]
    assert find_nan_cause(replace(STEP, loss=own), tensors, {})["compiled"] == own


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (StepTensor("weight", "fc1/kernel", "variable", array([NAN])), "nonfinite before the step"),
        (StepTensor("activation", "fc1", "Dense", array([[INF]]), (FINE,)), "between -4 and 100"),
        (
            StepTensor("activation", "fc1", "Dense", array([[NAN]]), (FINE,)),
            "the result is undefined in float32",
        ),
        (
            StepTensor("term", "square", "RootOfSquare", array([INF])),
            "the terms before it are finite",
        ),
        (StepTensor("loss", "batch", "RootOfSquare", array(INF)), "their sum is not"),
        (StepTensor("gradient", "fc1/bias", "derivative", array([NAN])), "inf * 0 is NaN"),
        (StepTensor("update", "fc1/bias", "SGD", array([NAN])), "computed operation by operation"),
    ],
)
def test_every_kind_of_tensor_has_a_reason(first, why):
    cause = find_nan_cause(STEP, [OUTPUT, first], RootOfSquare.reasons)
    assert cause["kind"] == first.kind
    assert why in cause["why"]
