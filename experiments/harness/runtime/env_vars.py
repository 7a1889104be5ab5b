"""The environment variables that decide bits: what a deterministic backend is started with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase

from experiments.harness.spec import UserError

DETERMINISTIC = {  # what determinism takes; read once, when the backend starts
    "tensorflow": {"TF_DETERMINISTIC_OPS": "1", "TF_ENABLE_ONEDNN_OPTS": "1"},
    "jax": {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"},
    "torch": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
}
MATH_LIBRARIES = (  # not KMP_*: scikit-learn sets some on import
    *("MKL_*", "OMP_*", "ONEDNN_*", "DNNL_*", "CUBLAS_*", "CUDNN_*", "NVIDIA_TF32_OVERRIDE"),
)
RECORDED = {  # what else changes bits, where the user has set it
    "tensorflow": (
        *MATH_LIBRARIES,
        *("XLA_FLAGS", "TF_XLA_FLAGS", "TF_CUDNN_*", "TF_DETERMINISTIC_OPS", "TF_DISABLE_*"),
        *("TF_ENABLE_*", "TF_NUM_*_THREADS", "TF_OVERRIDE_GLOBAL_THREADPOOL"),
    ),
    "jax": (
        *MATH_LIBRARIES,
        *("XLA_FLAGS", "NPROC", "JAX_DEFAULT_MATMUL_PRECISION", "JAX_DEFAULT_PRNG_IMPL"),
        *("JAX_DISABLE_JIT", "JAX_ENABLE_X64", "JAX_THREEFRY_PARTITIONABLE"),
    ),
    "torch": (
        *MATH_LIBRARIES,
        *("ATEN_CPU_CAPABILITY", "KERAS_TORCH_DEVICE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
        *("TORCH_BLAS_*", "TORCH_CUDNN_*"),
    ),
}

DEFAULT_BACKEND = "tensorflow"

_replaced: dict[str, str | None] = {}  # what stood in the variables that were set


def keras_backend() -> str:
    """Return the name that ``KERAS_BACKEND`` chooses, of a backend or not."""
    return os.environ.get("KERAS_BACKEND", DEFAULT_BACKEND)


def apply(backend: str, deterministic: bool, settings: Mapping[str, str]) -> dict[str, str]:
    """Set ``settings`` and, where ``deterministic``, what that takes; return all that counts.

    To be called before the backend starts. Raises ``UserError`` for flags that contradict it.
    """
    wanted = resolve(backend, deterministic, settings)
    _replaced.update({name: os.environ.get(name) for name in wanted})
    os.environ.update(wanted)
    heeded = {
        name: value
        for name, value in sorted(os.environ.items())
        if any(fnmatchcase(name, pattern) for pattern in RECORDED[backend])
    }
    first = DETERMINISTIC[backend] if deterministic else {}
    names = dict.fromkeys([*first, *settings, *heeded])
    return {name: os.environ[name] for name in names}


def original_environ() -> dict[str, str]:
    """Return the environment as it was before ``set_up``: what another process starts from."""
    before = os.environ | {name: value or "" for name, value in _replaced.items()}
    return {name: value for name, value in before.items() if _replaced.get(name, "") is not None}


def resolve(backend: str, deterministic: bool, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to be set: ours, but as ``settings`` have them, flags joined."""
    ours = DETERMINISTIC[backend] if deterministic else {}
    both = {**ours, **settings}
    if flags := ours.get("XLA_FLAGS"):
        given = settings.get("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
        both["XLA_FLAGS"] = _with_flags(given, flags)
    return both


def without_defaults(backend: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Return settings less what determinism adds to them: what ``chosen`` makes them from."""
    told = {}
    for name, value in settings.items():
        ours = DETERMINISTIC[backend].get(name)
        if value != ours:
            told[name] = value.removesuffix(f" {ours}")
    return told


def merge(settings: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Return ``settings`` with ``others`` in their places; of flags, with theirs added."""
    added = {
        name: f"{settings[name]} {value}" if name in settings and name.endswith("FLAGS") else value
        for name, value in others.items()
    }
    return {**settings, **added}


def _with_flags(given: str, ours: str) -> str:
    """Return the user's XLA flags with ours; ``UserError`` where they cannot be had together."""
    wanted = dict(flag.split("=") for flag in ours.split())
    for flag in given.split():
        name, _, value = flag.partition("=")
        if not name.startswith("--") or value.lower() != wanted.get(name, value.lower()):
            raise UserError(
                f"XLA_FLAGS={given} contradicts determinism, which takes {ours}; leave {flag} out, "
                "or use --allow-nondeterministic"
            )
    return given if ours in given else f"{given} {ours}".strip()
