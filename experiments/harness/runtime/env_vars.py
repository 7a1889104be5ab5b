"""The environment variables that change a run's bits: set, merge and record them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase

from experiments.harness.spec import UserError

DETERMINISTIC = {  # what deterministic training needs; a backend reads it once, as it starts
    "tensorflow": {"TF_DETERMINISTIC_OPS": "1", "TF_ENABLE_ONEDNN_OPTS": "1"},
    "jax": {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"},
    "torch": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
}
MATH_LIBRARIES = (  # not KMP_*: scikit-learn sets some on import
    "MKL_*",
    "OMP_*",
    "ONEDNN_*",
    "DNNL_*",
    "CUBLAS_*",
    "CUDNN_*",
    "NVIDIA_TF32_OVERRIDE",
)
RECORDED = {  # patterns of variables that change bits, recorded if the user has set them
    "tensorflow": (
        *MATH_LIBRARIES,
        "XLA_FLAGS",
        "TF_XLA_FLAGS",
        "TF_CUDNN_*",
        "TF_DETERMINISTIC_OPS",
        "TF_DISABLE_*",
        "TF_ENABLE_*",
        "TF_NUM_*_THREADS",
        "TF_OVERRIDE_GLOBAL_THREADPOOL",
    ),
    "jax": (
        *MATH_LIBRARIES,
        "XLA_FLAGS",
        "NPROC",
        "JAX_DEFAULT_MATMUL_PRECISION",
        "JAX_DEFAULT_PRNG_IMPL",
        "JAX_DISABLE_JIT",
        "JAX_ENABLE_X64",
        "JAX_THREEFRY_PARTITIONABLE",
    ),
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

_replaced: dict[str, str | None] = {}  # former values of the variables that ``apply`` set


def keras_backend() -> str:
    """Return the backend named by ``KERAS_BACKEND``, known or not."""
    return os.environ.get("KERAS_BACKEND", DEFAULT_BACKEND)


def apply(backend: str, deterministic: bool, settings: Mapping[str, str]) -> dict[str, str]:
    """Set the variables of ``resolve``; return every variable that changes the run's bits.

    Call it before the backend starts. Raises ``UserError`` for flags that conflict with
    determinism.
    """
    resolved = resolve(backend, deterministic, settings)
    _replaced.update({name: os.environ.get(name) for name in resolved})
    os.environ.update(resolved)
    recorded = [
        name
        for name in sorted(os.environ)
        if any(fnmatchcase(name, pattern) for pattern in RECORDED[backend])
    ]
    defaults = DETERMINISTIC[backend] if deterministic else {}
    names = dict.fromkeys([*defaults, *settings, *recorded])
    return {name: os.environ[name] for name in names}


def original_environ() -> dict[str, str]:
    """Return the environment as it was before ``apply``, for starting another process."""
    environ = dict(os.environ)
    for name, value in _replaced.items():
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = value
    return environ


def resolve(backend: str, deterministic: bool, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to set: ``settings`` over the defaults of determinism, flags joined."""
    defaults = DETERMINISTIC[backend] if deterministic else {}
    resolved = {**defaults, **settings}
    if flags := defaults.get("XLA_FLAGS"):
        given = settings.get("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
        resolved["XLA_FLAGS"] = _join_flags(given, flags)
    return resolved


def without_defaults(backend: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Return ``settings`` without what determinism adds to them: undo ``resolve``."""
    given = {}
    for name, value in settings.items():
        default = DETERMINISTIC[backend].get(name)
        if value != default:
            given[name] = value.removesuffix(f" {default}")
    return given


def merge(settings: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Return ``settings`` updated with ``others``; flags are appended, not replaced."""
    merged = dict(settings)
    for name, value in others.items():
        append = name in settings and name.endswith("FLAGS")
        merged[name] = f"{settings[name]} {value}" if append else value
    return merged


def _join_flags(given: str, required: str) -> str:
    """Return the user's XLA flags with the required ones; ``UserError`` if they conflict."""
    required_values = dict(flag.split("=") for flag in required.split())
    for flag in given.split():
        name, _, value = flag.partition("=")
        if not name.startswith("--") or value.lower() != required_values.get(name, value.lower()):
            raise UserError(
                f"XLA_FLAGS={given} conflicts with determinism, which requires {required}; "
                f"remove {flag}, or use --allow-nondeterministic"
            )
    return given if required in given else f"{given} {required}".strip()
