import gc
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from experiments.harness.runtime import backends, determinism, env_vars, subprocesses
from experiments.harness.spec import UserError
from tests.helpers.environment import ENVIRONMENT

BACKENDS = [name for name in backends.PACKAGES if find_spec(name)]
ENVIRONMENT_OF = "experiments.harness.runtime.determinism:environment"
jax = pytest.mark.skipif("jax" not in BACKENDS, reason="JAX is not installed")


START = """
import json, sys
from experiments.harness.runtime import determinism
determinism.start(deterministic=sys.argv[1] == "True")
print(json.dumps(determinism.environment()))
"""
RIGHT_SUM = """
import jax  # github.com/jax-ml/jax, issue 39103
from jax import numpy as jnp
k = jnp.arange(32769, dtype="float32")
rows = jnp.stack([k, 0 * k, 0 * k], 1)
assert jax.jit(jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2)))(rows)[-1] == 32768**2
"""


def start(backend: str, deterministic: bool = True, **environ: str) -> dict:
    """Return the environment of a fresh process, without the settings of this one.

    On JAX the process also sums a product of matrix and vector.
    """
    ours = {name: text for name, text in os.environ.items() if name not in ENVIRONMENT["settings"]}
    code = START + (RIGHT_SUM if backend == "jax" else "")
    completed = subprocess.run(
        [sys.executable, "-c", code, str(deterministic)],
        env=ours | {"KERAS_BACKEND": backend} | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stderr == ""
    return json.loads(completed.stdout)


def test_imported_objects_are_exempt_from_garbage_collection_which_stays_enabled():
    assert gc.get_freeze_count() > 100_000
    assert gc.isenabled()


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param(name, marks=() if name == ENVIRONMENT["backend"] else pytest.mark.slow)
        for name in BACKENDS
    ],
)
def test_the_environment_records_what_decides_bits_and_a_child_has_the_same(backend):
    first = start(backend)
    assert set(first) == {
        *("backend", "device", "threads", "cpu", "caches", "python", "versions", "settings")
    }
    assert first["backend"] == backend
    assert first["device"]
    assert set(first["versions"]) == {"keras", "numpy", *backends.PACKAGES[backend]}
    assert first["settings"] == env_vars.DETERMINISTIC[backend]
    here = backend == ENVIRONMENT["backend"]
    assert first == (ENVIRONMENT if here else start(backend, **first["settings"]))


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "jax" else ())  # test_reproduce's too
        for name in BACKENDS
        if name != "tensorflow"
    ],
)
def test_the_harness_starts_without_tensorflow(backend):
    code = """if True:
        import sys
        sys.modules["tensorflow"] = None
        from experiments.harness.runtime import determinism
        determinism.start()
        from experiments.harness.reporting import result
        from experiments.verification import self_test_runs
        import zoo
        assert self_test_runs.build.build_compiled(self_test_runs.lrn).count_params()
    """
    environ = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_process_has_the_threads_and_settings_that_it_was_started_with(backend):
    options = {"threads": 1, "settings": {"MKL_CBWR": "COMPATIBLE"}}
    environment = subprocesses.call(ENVIRONMENT_OF, {}, backend=backend, start=options)
    assert environment["threads"] == 1
    assert environment["settings"] == env_vars.DETERMINISTIC[backend] | {"MKL_CBWR": "COMPATIBLE"}


@pytest.mark.parametrize(
    ("backend", "settings"),
    [("tensorflow", {}), pytest.param("jax", {"XLA_FLAGS": env_vars.CORRECT_XLA_FLAG}, marks=jax)],
)
def test_without_determinism_nothing_else_is_set_and_the_environment_records_it(backend, settings):
    environment = start(backend, deterministic=False)
    assert environment["deterministic"] is False
    assert environment["settings"] == settings


@pytest.mark.parametrize(
    "other",
    [{"threads": 10_000}, {"deterministic": False}, {"settings": {"MKL_CBWR": "COMPATIBLE"}}],
)
def test_a_process_cannot_be_started_again_with_other_options(other):
    determinism.start(deterministic=True, threads=ENVIRONMENT["threads"])
    determinism.start(settings=ENVIRONMENT["settings"])
    assert determinism.environment() is ENVIRONMENT
    with pytest.raises(UserError, match="a new process"):
        determinism.start(**other)


def test_more_threads_than_processors_are_refused():
    with pytest.raises(UserError, match="threads must be 1 to"):
        subprocesses.call(ENVIRONMENT_OF, {}, start={"threads": 10_000})


@pytest.mark.parametrize(
    "flags",
    [
        "--xla_gpu_deterministic_ops=false",
        "--xla_cpu_experimental_ynn_fusion_type=reduce",
        "flags.txt",
    ],
)
def test_flags_that_conflict_with_determinism_are_refused(flags):
    with pytest.raises(UserError, match="--allow-nondeterministic"):
        env_vars.resolve("jax", True, {"XLA_FLAGS": flags})
    others = env_vars.resolve("jax", False, {"XLA_FLAGS": flags})["XLA_FLAGS"].split()
    assert others[0] == flags
    assert others[1:] == [env_vars.CORRECT_XLA_FLAG] * ("gpu" in flags)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("name", env_vars.LIMITS)
def test_a_variable_that_cuts_a_training_short_is_refused(monkeypatch, name, deterministic):
    monkeypatch.setenv(name, "1")
    with pytest.raises(UserError, match=f"{name} would cut the training short; unset it"):
        subprocesses.call(ENVIRONMENT_OF, {}, start={"deterministic": deterministic})


@pytest.mark.parametrize("backend", backends.PACKAGES)
def test_variables_of_the_libraries_below_a_backend_are_recorded(monkeypatch, backend):
    given = {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "AVX2"}
    given["GLIBC_TUNABLES"] = "glibc.cpu.hwcaps=-AVX2_Usable"
    if backend == "tensorflow":
        given["TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL"] = "0"
    monkeypatch.setattr(os, "environ", dict(given))
    monkeypatch.setattr(env_vars, "_replaced", {})
    recorded = env_vars.apply(backend, True, {})
    assert recorded == env_vars.DETERMINISTIC[backend] | given


@pytest.mark.parametrize(
    ("content", "backend"),
    [
        ('{"backend": "jax"}', "jax"),
        ('{"backend": "abacus"}', "abacus"),
        ('{"floatx": "float32"}', "tensorflow"),
        ("{", "tensorflow"),
        ("[]", "tensorflow"),
        (None, "tensorflow"),
    ],
)
def test_the_backend_is_the_one_that_keras_would_choose(monkeypatch, tmp_path, content, backend):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "")
    if content:
        (tmp_path / "keras.json").write_text(content)
    assert env_vars.keras_backend() == backend
    if backend == "abacus":
        with pytest.raises(UserError, match=f"unknown backend 'abacus' in {tmp_path}/keras.json"):
            backends.installed_backend()
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert env_vars.named_backend() == ("torch", "KERAS_BACKEND")


@jax
def test_settings_of_keras_json_and_the_environment_that_stay_and_are_recorded(tmp_path):
    """Of the file the backend, and of the variables those that change bits."""
    (tmp_path / ".keras").mkdir()
    content = {"backend": "jax", "floatx": "float16", "image_data_format": "channels_first"}
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(content))
    flags = "--xla_cpu_enable_fast_math=false"
    ours = env_vars.DETERMINISTIC["jax"]["XLA_FLAGS"]
    recorded = {"XLA_FLAGS": f"{flags} {ours}", "NPROC": "1"}
    code = f"""if True:
        from experiments.harness.runtime import determinism
        determinism.start()
        import keras
        assert determinism.environment()["settings"] == {recorded}
        assert determinism.environment()["backend"] == keras.backend.backend() == "jax"
        assert keras.config.dtype_policy().name == keras.config.floatx() == "float32"
        assert keras.config.image_data_format() == "channels_last"
    """
    gone = {"KERAS_BACKEND", "KERAS_HOME", *ENVIRONMENT["settings"]}
    environ = {name: text for name, text in os.environ.items() if name not in gone}
    environ |= {"HOME": str(tmp_path), "XLA_FLAGS": flags, "NPROC": "1", "JAX_LOG_COMPILES": "0"}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)


@pytest.mark.skipif("torch" not in BACKENDS, reason="PyTorch is not installed")
def test_pytorchs_vector_functions_are_called_before_threads_start():
    code = """if True:
        import torch
        from experiments.harness.runtime import backends
        calls, set_num_threads = [], torch.set_num_threads
        def counted(name):
            function = getattr(torch, name)
            def call(values):
                calls.append((name, values.dtype))
                return function(values)
            return call
        for name in backends.VECTOR_FUNCTIONS:
            setattr(torch, name, counted(name))
        def check(threads):
            assert {"exp", "log", "sqrt", "tanh", "erf"} <= {name for name, _ in calls}
            assert len(set(calls)) == 2 * len(backends.VECTOR_FUNCTIONS)
            set_num_threads(threads)
            print("checked")
        torch.set_num_threads = check
        backends.start_torch(2, True)
    """
    argv = [sys.executable, "-c", code]
    assert subprocess.run(argv, capture_output=True, check=True).stdout == b"checked\n"


@pytest.mark.parametrize("flags", ["", "--xla_cpu_enable_fast_math=false"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_the_defaults_can_be_removed_from_settings(monkeypatch, flags, deterministic):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    given = {"XLA_FLAGS": flags, "NPROC": "1"} if flags else {"NPROC": "1"}
    settings = env_vars.resolve("jax", deterministic, given)
    assert env_vars.without_defaults("jax", deterministic, settings) == (given, [])
    for number in range(1, len(env_vars.default_flags("jax", deterministic)) + 1):
        omitted = env_vars.default_flags("jax", deterministic)[-number:]
        old = env_vars.resolve("jax", deterministic, given, omitted)
        assert env_vars.without_defaults("jax", deterministic, old) == (given, omitted)
    more = env_vars.merge(given, {"XLA_FLAGS": "--xla_cpu_max_isa=AVX"})
    assert more["XLA_FLAGS"] == f"{flags} --xla_cpu_max_isa=AVX".strip()
    assert more["NPROC"] == "1"


def test_devices_without_determinism_are_refused_unless_allowed():
    one, two = [("cuda", "H200")], [("gpu", "H200"), ("gpu", "H200")]
    assert backends.device_name([], True) == "cpu"
    assert backends.device_name(one, True) == "H200"
    assert backends.device_name(two, False) == "H200, H200"
    for devices in (two, [("tpu", "TPU v4")], [("mps", "mps")]):
        with pytest.raises(UserError, match="--allow-nondeterministic"):
            backends.device_name(devices, True)


@pytest.mark.parametrize(
    "message",
    [
        "UNIMPLEMENTED: HLO instruction select-and-scatter.4 does not have a deterministic "
        "implementation, but run-to-run determinism is required by --xla_gpu_deterministic_ops.",
        "Detected at node x\nA deterministic GPU implementation of Op is not currently available.",
        "Deterministic GPU implementation of unsorted segment reduction op not available",
        "scatter_add_cuda_kernel does not have a deterministic implementation, but you set it",
        "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)`",
    ],
)
def test_a_backends_error_about_a_nondeterministic_operation_becomes_one_line(message):
    with (
        pytest.raises(UserError, match="--allow-nondeterministic") as error,
        backends.translate_backend_errors(),
    ):
        raise RuntimeError(message)
    assert message.splitlines()[-1] in str(error.value)
    assert "\n" not in str(error.value)


def test_other_errors_of_a_backend_are_unchanged():
    with pytest.raises(RuntimeError, match="shapes"), backends.translate_backend_errors():
        raise RuntimeError("determinism.py: shapes do not fit")


@pytest.mark.parametrize(("error", "shown"), [(ImportError, "noise\n"), (KeyboardInterrupt, "")])
def test_a_backends_output_is_shown_if_its_start_fails(capfd, error, shown):
    def fail():
        os.write(2, b"noise\n")
        raise error

    with pytest.raises(error), determinism._quiet():
        fail()
    assert capfd.readouterr().err == shown
