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
START = "experiments.harness.runtime.determinism:start"
jax = pytest.mark.skipif("jax" not in BACKENDS, reason="JAX is not installed")


def started(backend: str, **environ: str) -> dict:
    """Return the environment that a fresh process finds, but for what is set in this one."""
    ours = {name: text for name, text in os.environ.items() if name not in ENVIRONMENT["settings"]}
    code = "import json; from experiments.harness import determinism as d; "
    code += "print(json.dumps(d.start()))"
    made = subprocess.run(
        [sys.executable, "-c", code],
        env=ours | {"KERAS_BACKEND": backend} | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stderr == ""
    return json.loads(made.stdout)


def test_what_is_imported_is_left_out_of_garbage_collection_which_goes_on():
    assert gc.get_freeze_count() > 100_000
    assert gc.isenabled()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_environment_says_what_bits_depend_on_and_a_child_finds_the_same(backend):
    first = started(backend)
    assert set(first) == {"backend", "device", "threads", "cpu", "python", "versions", "settings"}
    assert first["backend"] == backend
    assert first["device"]
    assert set(first["versions"]) == {"keras", "numpy", *backends.PACKAGES[backend]}
    assert first["settings"] == env_vars.DETERMINISTIC[backend]
    assert started(backend, **first["settings"]) == first


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "tensorflow"])
def test_the_harness_starts_where_tensorflow_is_not_installed(backend):
    code = """if True:
        import sys
        sys.modules["tensorflow"] = None
        from experiments.harness import determinism
        determinism.start()
        from experiments.forensics import shortrun
        from experiments.harness import result
        import zoo
        assert shortrun.training.compiled(shortrun.lrn).count_params()
    """
    environ = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)


@jax
def test_what_the_user_set_that_changes_bits_is_kept_and_recorded():
    flags = "--xla_cpu_enable_fast_math=false"
    settings = started("jax", XLA_FLAGS=flags, NPROC="1", JAX_LOG_COMPILES="0")["settings"]
    ours = env_vars.DETERMINISTIC["jax"]["XLA_FLAGS"]
    assert settings == {"XLA_FLAGS": f"{flags} {ours}", "NPROC": "1"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_process_keeps_to_the_threads_and_settings_that_it_is_told(backend):
    how = {"threads": 1, "settings": {"MKL_CBWR": "COMPATIBLE"}}
    told = subprocesses.call(START, how, backend=backend, start=how)
    assert told["threads"] == 1
    assert told["settings"] == env_vars.DETERMINISTIC[backend] | {"MKL_CBWR": "COMPATIBLE"}


def test_without_determinism_no_switch_is_set_and_the_environment_says_so():
    told = subprocesses.call(START, {}, start={"deterministic": False})
    assert told["deterministic"] is False
    assert not told["settings"]


@pytest.mark.parametrize(
    "other",
    [{"threads": 10_000}, {"deterministic": False}, {"settings": {"MKL_CBWR": "COMPATIBLE"}}],
)
def test_once_started_a_process_cannot_be_started_otherwise(other):
    environment = determinism.start()
    assert determinism.start(deterministic=True, threads=environment["threads"]) is environment
    assert determinism.start(settings=environment["settings"]) is environment
    with pytest.raises(UserError, match="start a new"):
        determinism.start(**other)


def test_more_threads_than_processors_are_refused():
    with pytest.raises(UserError, match="threads must be 1 to"):
        subprocesses.call(START, {}, start={"threads": 10_000})


@pytest.mark.parametrize("flags", ["--xla_gpu_deterministic_ops=false", "flags.txt"])
def test_flags_that_contradict_determinism_are_refused(flags):
    with pytest.raises(UserError, match="--allow-nondeterministic"):
        env_vars.resolve("jax", True, {"XLA_FLAGS": flags})
    assert env_vars.resolve("jax", False, {"XLA_FLAGS": flags}) == {"XLA_FLAGS": flags}


@pytest.mark.parametrize("flags", ["", "--xla_cpu_enable_fast_math=false"])
def test_what_determinism_adds_to_settings_can_be_taken_off_again(flags):
    given = {"XLA_FLAGS": flags, "NPROC": "1"} if flags else {"NPROC": "1"}
    settings = env_vars.resolve("jax", True, given)
    assert env_vars.without_defaults("jax", settings) == given
    more = env_vars.merge(given, {"XLA_FLAGS": "--xla_cpu_max_isa=AVX"})
    assert more["XLA_FLAGS"] == f"{flags} --xla_cpu_max_isa=AVX".strip()
    assert more["NPROC"] == "1"


def test_devices_that_promise_nothing_are_refused_unless_bits_do_not_matter():
    one, two = [("cuda", "H200")], [("gpu", "H200"), ("gpu", "H200")]
    assert backends.device_name([], True) == "cpu"
    assert backends.device_name(one, True) == "H200"
    assert backends.device_name(two, False) == "H200, H200"
    for devices in (two, [("tpu", "TPU v4")], [("mps", "mps")]):
        with pytest.raises(UserError, match="--allow-nondeterministic"):
            backends.device_name(devices, True)


@pytest.mark.parametrize(
    "words",
    [
        "UNIMPLEMENTED: HLO instruction select-and-scatter.4 does not have a deterministic "
        "implementation, but run-to-run determinism is required by --xla_gpu_deterministic_ops.",
        "Detected at node x\nA deterministic GPU implementation of Op is not currently available.",
        "Deterministic GPU implementation of unsorted segment reduction op not available",
        "scatter_add_cuda_kernel does not have a deterministic implementation, but you set it",
        "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)`",
    ],
)
def test_a_backends_word_that_an_operation_is_not_deterministic_becomes_one_line(words):
    with (
        pytest.raises(UserError, match="--allow-nondeterministic") as refused,
        backends.translate_backend_errors(),
    ):
        raise RuntimeError(words)
    assert words.splitlines()[-1] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_errors_of_a_backend_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), backends.translate_backend_errors():
        raise RuntimeError("determinism.py: shapes do not fit")


@pytest.mark.parametrize(("error", "told"), [(ImportError, "noise\n"), (KeyboardInterrupt, "")])
def test_what_a_backend_writes_while_it_starts_is_told_where_it_fails(capfd, error, told):
    def start():
        os.write(2, b"noise\n")
        raise error

    with pytest.raises(error), determinism._quiet():
        start()
    assert capfd.readouterr().err == told
