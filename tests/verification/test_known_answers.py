"""The known-answer test on every backend, and faults that it must find and name.

The functions that the tests call in fresh processes import keras themselves.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from experiments.harness.runtime import backends, env_vars, subprocesses
from experiments.verification import self_test
from experiments.verification.known_answers import bounds
from experiments.verification.known_answers.bounds import Bounded

BACKENDS = [name for name in backends.PACKAGES if find_spec(name)]
HERE = "tests.verification.test_known_answers"
PATCHED = {  # a kernel of Keras's backend that a test makes wrong: a program that uses it
    "conv": "convolution 5x5 same",
    "max_pool": "max pool 2x2 stride 2 same",
    "softmax": "softmax and its logarithm",
}


def check_with_faults() -> dict[str, Any]:
    """Run all programs once; return the findings, sound and with each fault planted.

    ``changed``: one value of one result is 1 % too large, or not finite. ``patched``: one value of
    a kernel is 0.1 % too large.
    """
    from experiments.verification.known_answers import check, programs

    answer: dict[str, Any] = {"sound": [], "changed": [], "patched": {}}
    for program in programs.programs():
        computed = check.compute(program)
        answer["sound"].append(asdict(check.find(program, computed)))
        for name in {*check.exact_results(program)} & {*computed}:
            for fault in (1.01 * np.abs(computed[name]).max(), np.nan):
                changed = computed[name].copy()
                changed.flat[np.abs(changed).argmax()] = fault
                found = check.find(program, {**computed, name: changed})
                answer["changed"].append([name, asdict(found)])
    for kernel, name in PATCHED.items():
        answer["patched"][kernel] = check_patched(kernel, name)
    return answer


def check_patched(kernel: str, name: str) -> dict[str, Any]:
    """Return the finding for a program while ``kernel`` is too large in its last value."""
    from keras.src import backend

    right = getattr(backend.nn, kernel)

    def wrong(*args: Any, **kwargs: Any) -> Any:
        result = right(*args, **kwargs)
        factors = np.ones(result.shape, np.float32)
        factors.flat[-1] = 1.001
        return result * backend.convert_to_tensor(factors)

    setattr(backend.nn, kernel, wrong)
    try:
        return check_one(name)
    finally:
        setattr(backend.nn, kernel, right)


def check_one(name: str) -> dict[str, Any]:
    """Return the finding for one program."""
    from experiments.verification.known_answers import check, programs

    (program,) = (each for each in programs.programs() if each.name == name)
    return asdict(check.find(program, check.compute(program)))


@cache
def in_one_process(backend: str) -> dict[str, Any]:
    start = {"settings": self_test.CPU_ONLY[backend]}
    return subprocesses.call(f"{HERE}:check_with_faults", {}, backend=backend, start=start)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_operation_is_within_its_bounds(backend):
    findings = in_one_process(backend)["sound"]
    assert [each for each in findings if each["wrong"]] == []
    assert len(findings) == len({each["operation"] for each in findings}) == 16


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_wrong_value_of_any_result_is_found_and_named(backend):
    faults = in_one_process(backend)["changed"]
    assert [[name, found] for name, found in faults if not found["wrong"]] == []
    assert all(found["result"].endswith(name) for name, found in faults)
    names = {name for name, _ in faults}
    assert {"output", "output in training", "gradient of x", "gradient of kernel"} <= names
    assert {"x", "momentum", "velocity", "moving_mean", "moving_variance"} <= names


@pytest.mark.parametrize("kernel", PATCHED)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_kernel_that_is_wrong_in_one_element_is_found_and_named(backend, kernel):
    finding = in_one_process(backend)["patched"][kernel]
    assert finding["operation"] == PATCHED[kernel]
    assert finding["result"] in ("output", "output in training")
    assert finding["wrong"] >= 1
    if finding["ulp"] is not None:
        assert finding["ulp"] > finding["bound"]


@pytest.mark.skipif("jax" not in BACKENDS, reason="JAX is not installed")
@pytest.mark.skipif(
    "jax" in BACKENDS and version("jaxlib") != "0.10.2", reason="jaxlib 0.10.2 is wrong"
)
def test_the_fusion_that_computes_wrong_sums_is_found_and_named():
    start = {
        "settings": self_test.CPU_ONLY["jax"],
        "omitted_flags": [env_vars.CORRECT_XLA_FLAG],
    }
    name = {"name": "matrix-vector product and sum"}
    finding = subprocesses.call(f"{HERE}:check_one", name, backend="jax", start=start)
    assert finding["operation"] == name["name"]
    assert finding["result"] == "output"
    assert finding["wrong"] > 0
    assert finding["ulp"] > 1000 * finding["bound"]
    line = self_test.describe_known_answers(
        {
            "environment": {"backend": "jax", "versions": {"jax": "0.10.2"}, "device": "cpu"},
            "operations": [finding],
        }
    )
    assert line.startswith("jax 0.10.2 on cpu: WRONG: matrix-vector product and sum: output[")


def test_bounds_hold_for_float32_in_any_order_and_are_near():
    generator = np.random.Generator(np.random.Philox(0))
    for terms in (2, 30, 1000):
        a, b = generator.normal(size=(2, terms, 50)).astype(np.float32)
        exact = bounds.dot("kn,kn->n", Bounded(a), Bounded(b), terms)
        magnitude = np.abs(a.astype(float) * b).sum(0)
        assert (exact.error < 1.01 * terms * 2.0**-24 * magnitude).all()
        for order in (np.arange(terms), np.argsort(a[:, 0]), np.argsort(-a[:, 0])):
            found = np.zeros(50, np.float32)
            for row in order:
                found += a[row] * b[row]
            assert (np.abs(found - exact.value) <= exact.error).all()


def test_bounds_pass_on_the_errors_of_operands():
    generator = np.random.Generator(np.random.Philox(1))
    a, b, c = generator.uniform(0.5, 2, size=(3, 10_000)).astype(np.float32)
    exact = ((Bounded(a) * Bounded(b) - Bounded(c)) / Bounded(b) + Bounded(a)).apply(np.exp, 3)
    found = np.exp((a * b - c) / b + a)
    assert found.dtype == np.float32
    error = np.abs(found.astype(float) - exact.value)
    assert (error <= exact.error).all()
    assert (exact.error < 1e-5 * exact.magnitude).all()


def test_any_value_of_a_range_is_right():
    right = bounds.Range(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    assert right.nearest(np.array([1.5, 1.0])).value.tolist() == [1.5, 0.0]
    assert right.nearest(np.array([np.nan, 0.0])).value.tolist() == [1.0, 0.0]
