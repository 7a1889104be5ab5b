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


def start(backend: str, **environ: str) -> dict:
    """Return the environment of a fresh process, without the settings of this one."""
    ours = {name: text for name, text in os.environ.items() if name not in ENVIRONMENT["settings"]}
    code = "import json; from experiments.harness.runtime import determinism; "
    code += "determinism.start(); print(json.dumps(determinism.environment()))"
    completed = subprocess.run(
        [sys.executable, "-c", code],
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


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_environment_records_what_decides_bits_and_a_child_has_the_same(backend):
    first = start(backend)
    assert set(first) == {"backend", "device", "threads", "cpu", "python", "versions", "settings"}
    assert first["backend"] == backend
    assert first["device"]
    assert set(first["versions"]) == {"keras", "numpy", *backends.PACKAGES[backend]}
    assert first["settings"] == env_vars.DETERMINISTIC[backend]
    assert start(backend, **first["settings"]) == first


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "tensorflow"])
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


@jax
def test_the_users_settings_that_change_bits_stay_and_are_recorded():
    flags = "--xla_cpu_enable_fast_math=false"
    settings = start("jax", XLA_FLAGS=flags, NPROC="1", JAX_LOG_COMPILES="0")["settings"]
    ours = env_vars.DETERMINISTIC["jax"]["XLA_FLAGS"]
    assert settings == {"XLA_FLAGS": f"{flags} {ours}", "NPROC": "1"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_process_has_the_threads_and_settings_that_it_was_started_with(backend):
    options = {"threads": 1, "settings": {"MKL_CBWR": "COMPATIBLE"}}
    environment = subprocesses.call(ENVIRONMENT_OF, {}, backend=backend, start=options)
    assert environment["threads"] == 1
    assert environment["settings"] == env_vars.DETERMINISTIC[backend] | {"MKL_CBWR": "COMPATIBLE"}


def test_without_determinism_nothing_is_set_and_the_environment_records_it():
    environment = subprocesses.call(ENVIRONMENT_OF, {}, start={"deterministic": False})
    assert environment["deterministic"] is False
    assert not environment["settings"]


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


@pytest.mark.parametrize("flags", ["--xla_gpu_deterministic_ops=false", "flags.txt"])
def test_flags_that_conflict_with_determinism_are_refused(flags):
    with pytest.raises(UserError, match="--allow-nondeterministic"):
        env_vars.resolve("jax", True, {"XLA_FLAGS": flags})
    assert env_vars.resolve("jax", False, {"XLA_FLAGS": flags}) == {"XLA_FLAGS": flags}


@pytest.mark.parametrize("flags", ["", "--xla_cpu_enable_fast_math=false"])
def test_the_defaults_of_determinism_can_be_removed_from_settings(flags):
    given = {"XLA_FLAGS": flags, "NPROC": "1"} if flags else {"NPROC": "1"}
    settings = env_vars.resolve("jax", True, given)
    assert env_vars.without_defaults("jax", settings) == given
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
