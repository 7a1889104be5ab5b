"""The environment variables that change a run's bits: set, merge and record them."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from experiments.harness.spec import UserError

# Without YNN fusion: on a CPU it computes wrong sums in jaxlib 0.10.2 (github.com/jax-ml/jax,
# issue 39103), and crashes in 0.11.0. Set without determinism too, unless the user names the flag.
CORRECT_XLA_FLAG = "--xla_cpu_experimental_ynn_fusion_type="
DETERMINISTIC = {  # what deterministic training needs; a backend reads it once, as it starts
    "tensorflow": {"TF_DETERMINISTIC_OPS": "1", "TF_ENABLE_ONEDNN_OPTS": "1"},
    "jax": {
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0 "
        + CORRECT_XLA_FLAG
    },
    "torch": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
}
LOADED_ONCE = {  # part of PORTABLE, read when JAX and NumPy are imported; probes use NumPy's sums
    "JAX_PLATFORMS": "cpu",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
}
PORTABLE = {  # what the portable profile sets in their stead, on JAX; docs/reproducibility.md
    # AVX, not AVX2: only if the processor has more than that does XLA ignore which one it is. With
    # Eigen's threads or without the last option XLA would call Eigen for larger products.
    "XLA_FLAGS": f"{CORRECT_XLA_FLAG} --xla_cpu_max_isa=AVX --xla_cpu_multi_thread_eigen=false "
    "--xla_backend_extra_options=xla_cpu_disable_platform_dependent_math,"
    "xla_force_enable_experimental_llvm_ir_gemm",
    "NPROC": "4",  # threads of XLA, on any number of processors
    **LOADED_ONCE,
}
JAX_VARIABLES = (
    "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_DEFAULT_PRNG_IMPL",
    "JAX_DISABLE_JIT",
    "JAX_ENABLE_X64",
    "JAX_NUMPY_*",
    "JAX_THREEFRY_PARTITIONABLE",
    "KERAS_NNX_ENABLED",
)
MATH_LIBRARIES = (  # not KMP_*: scikit-learn sets some on import
    "MKL_*",
    "OMP_*",
    "ONEDNN_*",
    "DNNL_*",
    "CUBLAS_*",
    "CUDNN_*",
    "NVIDIA_TF32_OVERRIDE",
    "OPENBLAS_*",
    "NPY_*",
    "GLIBC_TUNABLES",
)
RECORDED = {  # patterns of variables that change bits, recorded if the user has set them
    "tensorflow": (
        *MATH_LIBRARIES,
        "XLA_FLAGS",
        "TF_XLA_FLAGS",
        "TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL",
        "TF_AUTO_MIXED_PRECISION_*",
        "TF_CUDNN_*",
        "TF_DETERMINISTIC_OPS",
        "TF_DISABLE_*",
        "TF_ENABLE_*",
        "TF_NUM_*_THREADS",
        "TF_ONEDNN_*",
        "TF_OVERRIDE_GLOBAL_THREADPOOL",
        "TF_SET_ONEDNN_FPMATH_MODE",
    ),
    "jax": (
        *MATH_LIBRARIES,
        "XLA_FLAGS",
        "NPROC",
        "TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL",
        *JAX_VARIABLES,
    ),
    "portable": ("GLIBC_TUNABLES", *PORTABLE, *JAX_VARIABLES),
    "torch": (
        *MATH_LIBRARIES,
        "ATEN_CPU_CAPABILITY",
        "KERAS_TORCH_DEVICE",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "TORCH_BLAS_*",
        "TORCH_CUDNN_*",
    ),
}

DEFAULT_BACKEND = "tensorflow"
LIMITS = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")

_replaced: dict[str, str | None] = {}  # former values of the variables that ``apply`` set


def keras_backend() -> str:
    """Return the backend that Keras would choose, known or not."""
    return named_backend()[0]


def named_backend() -> tuple[str, str]:
    """Return the backend that Keras would choose, known or not, and where it is named."""
    if backend := os.environ.get("KERAS_BACKEND"):
        return backend, "KERAS_BACKEND"
    path = _keras_json()
    try:
        return str(json.loads(path.read_text())["backend"]), str(path)
    except (OSError, ValueError, LookupError, TypeError):
        return DEFAULT_BACKEND, "the default"


def _keras_json() -> Path:
    """Return Keras's configuration file, where Keras looks for it."""
    home = Path("~").expanduser()
    base = (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"
    return Path(os.environ.get("KERAS_HOME", base)).expanduser() / "keras.json"


def refuse_limits(settings: Mapping[str, str]) -> None:
    """Raise ``UserError`` if variables make Keras train fewer steps than an arm has."""
    if names := [name for name in LIMITS if name in os.environ or name in settings]:
        raise UserError(f"{' and '.join(names)} would cut the training short; unset it")


def apply(
    backend: str,
    deterministic: bool,
    settings: Mapping[str, str],
    omitted_flags: Collection[str] = (),
    portable: bool = False,
) -> dict[str, str]:
    """Set the variables of ``resolve``; return every variable that changes the run's bits.

    Call it before the backend starts. Raises ``UserError`` for flags that conflict with
    determinism.
    """
    resolved = resolve(backend, deterministic, settings, omitted_flags, portable)
    _replaced.update({name: os.environ.get(name) for name in resolved})
    os.environ.update(resolved)
    found = recorded("portable" if portable else backend)
    return {name: os.environ[name] for name in dict.fromkeys([*resolved, *found])}


def recorded(backend: str) -> dict[str, str]:
    """Return the variables of this process that may change the bits of ``backend``.

    ``portable`` stands for the portable profile.
    """
    return {
        name: os.environ[name]
        for name in sorted(os.environ)
        if any(fnmatchcase(name, pattern) for pattern in RECORDED[backend])
    }


def original_environ() -> dict[str, str]:
    """Return the environment as it was before ``apply``, for starting another process."""
    environ = dict(os.environ)
    for name, value in _replaced.items():
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = value
    return environ


def resolve(
    backend: str,
    deterministic: bool,
    settings: Mapping[str, str],
    omitted_flags: Collection[str] = (),
    portable: bool = False,
) -> dict[str, str]:
    """Return the variables to set: ``settings`` over the defaults of determinism, flags joined.

    ``omitted_flags`` are those of ``default_flags`` to leave out. ``portable``: with the defaults
    of the portable profile.
    """
    resolved = {**_default_variables(backend, deterministic, portable), **settings}
    flags = default_flags(backend, deterministic, portable)
    required = [flag for flag in flags if flag not in omitted_flags]
    given = settings.get("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    if not deterministic:
        named = {flag.partition("=")[0] for flag in given.split()}
        is_file = not given.startswith("-") and given  # it cannot be joined with flags
        required = [] if is_file else [f for f in required if f.partition("=")[0] not in named]
    if required:
        resolved["XLA_FLAGS"] = _join_flags(given, required)
    return resolved


def _default_variables(backend: str, deterministic: bool, portable: bool) -> dict[str, str]:
    """Return the variables that are set by default, without the flags."""
    defaults = PORTABLE if portable else DETERMINISTIC[backend] if deterministic else {}
    return {name: value for name, value in defaults.items() if name != "XLA_FLAGS"}


def default_flags(backend: str, deterministic: bool, portable: bool = False) -> list[str]:
    """Return the XLA flags that are set by default."""
    if portable:
        return PORTABLE["XLA_FLAGS"].split()
    if deterministic:
        return DETERMINISTIC[backend].get("XLA_FLAGS", "").split()
    return [CORRECT_XLA_FLAG] if backend == "jax" else []


def without_defaults(
    backend: str, deterministic: bool, settings: Mapping[str, str], portable: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Undo ``resolve``: return its arguments ``settings`` and ``omitted_flags``.

    ``settings`` may be recorded by an older version, with fewer default flags.
    """
    recorded = settings.get("XLA_FLAGS", "").split()
    flags = default_flags(backend, deterministic, portable)
    omitted = [flag for flag in flags if flag not in recorded]
    defaults = _default_variables(backend, deterministic, portable)
    if present := " ".join(flag for flag in flags if flag not in omitted):
        defaults["XLA_FLAGS"] = present
    given = {
        name: value.removesuffix(f" {defaults.get(name)}")
        for name, value in settings.items()
        if value != defaults.get(name)
    }
    return given, omitted


def merge(settings: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Return ``settings`` updated with ``others``; flags are appended, not replaced."""
    merged = dict(settings)
    for name, value in others.items():
        append = name in settings and name.endswith("FLAGS")
        merged[name] = f"{settings[name]} {value}" if append else value
    return merged


def _join_flags(given: str, required: Collection[str]) -> str:
    """Return the user's XLA flags with the required ones; ``UserError`` if they conflict."""
    required_values = dict(flag.lower().split("=") for flag in required)
    text = " ".join(required)
    for flag in given.split():
        name, _, value = flag.partition("=")
        if not name.startswith("--") or value.lower() != required_values.get(name, value.lower()):
            raise UserError(
                f"XLA_FLAGS={given} conflicts with determinism, which requires {text}; "
                f"remove {flag}, or use --allow-nondeterministic"
            )
    return given if f"{text} " in f"{given} " else f"{given} {text}".strip()
