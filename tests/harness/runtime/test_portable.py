"""The portable profile: right, compiled by XLA alone, and refused where it cannot be had."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import pytest

from experiments.harness.runtime import cpu, subprocesses
from experiments.harness.spec import UserError

HERE = "tests.helpers.portable_checks:check"
needs_jax = pytest.mark.skipif(not find_spec("jax"), reason="JAX is not installed")


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("programs"))
    start = {"portable": True, "settings": {"XLA_FLAGS": f"--xla_dump_to={folder}"}}
    return subprocesses.call(HERE, {"folder": folder}, backend="jax", start=start)


@needs_jax
@pytest.mark.parametrize("kind", ["products", "convolutions"])
def test_products_and_convolutions_are_within_their_bounds_of_float64(checked, kind):
    assert len(checked[kind]) > 5
    assert {name: error for name, error in checked[kind].items() if not error <= 1} == {}


@needs_jax
def test_a_networks_gradients_are_those_of_numpy_in_float64(checked):
    assert len(checked["gradients"]) == 8
    assert max(checked["gradients"].values()) < 1e-5


@needs_jax
def test_xla_compiles_every_product_itself(checked):
    assert "jit_train_step" in checked["calls"]["programs"]
    assert checked["calls"]["operations"] == []
    assert set(checked["calls"]["functions"]) <= {"powf"}
