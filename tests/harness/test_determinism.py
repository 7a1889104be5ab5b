import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from experiments.harness import determinism

BACKENDS = [name for name in determinism.PACKAGES if find_spec(name)]


def started(backend: str, **environ: str) -> dict:
    """Return the environment that a fresh process finds."""
    code = "import json; from experiments.harness import determinism as d; "
    code += "print(json.dumps(d.start()))"
    made = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"KERAS_BACKEND": backend} | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stderr == ""
    return json.loads(made.stdout)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_environment_says_what_bits_depend_on_and_a_child_finds_the_same(backend):
    first = started(backend)
    assert first["backend"] == backend
    assert first["device"]
    assert set(first["versions"]) == {"keras", "numpy", *determinism.PACKAGES[backend]}
    assert started(backend, **first["settings"]) == first


@pytest.mark.skipif("jax" not in BACKENDS, reason="JAX is not installed")
def test_flags_that_the_user_set_are_kept_and_recorded():
    flags = "--xla_cpu_enable_fast_math=false"
    settings = started("jax", XLA_FLAGS=flags)["settings"]
    assert settings["XLA_FLAGS"] == f"{flags} {determinism.BEFORE['jax']['XLA_FLAGS']}"


@pytest.mark.parametrize(("error", "told"), [(ImportError, "noise\n"), (KeyboardInterrupt, "")])
def test_what_a_backend_writes_while_it_starts_is_told_where_it_fails(capfd, error, told):
    def start():
        os.write(2, b"noise\n")
        raise error

    with pytest.raises(error), determinism._quiet():
        start()
    assert capfd.readouterr().err == told
