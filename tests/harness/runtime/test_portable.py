"""The portable profile: right, compiled by XLA alone, and refused where it cannot be had."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from experiments.harness.runtime import cpu, determinism, env_vars, subprocesses
from experiments.harness.spec import UserError

ROOT = Path(__file__).parents[3]
CHECK = "tests.helpers.portable_checks:check"
needs_jax = pytest.mark.skipif(not find_spec("jax"), reason="JAX is not installed")


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("programs"))
    start = {"portable": True, "settings": {"XLA_FLAGS": f"--xla_dump_to={folder}"}}
    return subprocesses.call(CHECK, {"folder": folder}, backend="jax", start=start)


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
def test_xla_compiles_every_product_and_convolution_itself(checked):
    assert {"jit_train_step", "jit_step", "jit__lambda"} <= set(checked["calls"]["programs"])
    assert checked["calls"]["operations"] == []
    assert set(checked["calls"]["functions"]) <= {"cosf", "logf", "powf", "fmaf"}


@needs_jax
def test_operations_of_libraries_are_refused(checked):
    assert len(checked["refusals"]) == 4
    assert all("leave out --portable" in error for error in checked["refusals"])


@pytest.mark.slow
@needs_jax
def test_a_run_is_replayed_portable_by_itself(checked):
    assert checked["run"]["environment"]["cpu"] == "portable-1"
    environ = env_vars.original_environ() | {"KERAS_BACKEND": "jax"}
    argv = [sys.executable, "-m", "experiments.replay", checked["run"]["directory"], "--step", "4"]
    completed = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert "\nexact: " in completed.stdout, completed.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [("sse2 avx fma", "needs a processor with avx2;"), ("sse2", "with avx2 and fma; leave out")],
)
def test_a_processor_below_the_floor_is_refused(monkeypatch, flags, message):
    monkeypatch.setattr(cpu, "_info", lambda: {"flags": flags})
    monkeypatch.setattr(cpu.platform, "machine", lambda: "x86_64")
    with pytest.raises(UserError, match=message):
        cpu.check_portable()


def test_another_platform_or_backend_is_refused(monkeypatch):
    with pytest.raises(UserError, match="needs KERAS_BACKEND=jax, not torch"):
        determinism._check_portable("torch", True)
    with pytest.raises(UserError, match="leave out --allow-nondeterministic"):
        determinism._check_portable("jax", False)
    monkeypatch.setattr(cpu.platform, "machine", lambda: "aarch64")
    with pytest.raises(UserError, match="needs Linux on x86-64, not linux on aarch64"):
        cpu.check_portable()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UserError, match="not darwin on aarch64"):
        cpu.check_portable()


def test_a_process_that_has_numpy_is_refused(monkeypatch):
    monkeypatch.setattr(cpu, "check_portable", lambda: None)
    with pytest.raises(UserError, match=r"numpy.* was imported before the portable profile"):
        determinism._check_portable("jax", True)


def test_a_process_that_was_started_otherwise_is_refused():
    with pytest.raises(UserError, match=r"these need a new process|other settings need a new"):
        determinism.start(portable=True)
