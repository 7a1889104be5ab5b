"""The likely causes of different bits: settings of the environment, changed one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.harness.runtime import cpu, env_vars

_XLA = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"
Settings = dict[str, str]
# backend: cause: environment variables to set, one choice after the other
SETTINGS: dict[str, dict[str, tuple[Settings, ...]]] = {
    "tensorflow": {
        "vector extensions": ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, {"TF_ENABLE_ONEDNN_OPTS": "0"}),
        "XLA": ({"TF_XLA_FLAGS": _XLA},),
    },
    "jax": {
        "vector extensions": (
            {"XLA_FLAGS": "--xla_cpu_max_isa=AVX"},
            {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"},
        ),
    },
    "torch": {
        "vector extensions": ({"ATEN_CPU_CAPABILITY": "default"}, {"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    },
}


def recorded_start(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``determinism.start`` that recreate an environment.

    With fewer threads if this machine has fewer processors.
    """
    backend, deterministic = environment["backend"], environment.get("deterministic", True)
    portable = cpu.is_portable(environment)
    settings, omitted_flags = env_vars.without_defaults(
        backend, deterministic, environment["settings"], portable
    )
    threads = None if portable else min(environment["threads"], cpu.available_count())
    return {
        "threads": threads,
        "deterministic": deterministic,
        "settings": settings,
        "omitted_flags": omitted_flags,
    } | ({"portable": True} if portable else {})


def candidates(environment: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each single change: its description, and the arguments of ``determinism.start``."""
    recorded = recorded_start(environment)
    if recorded.get("portable"):
        yield "portable profile: off instead of on", {"deterministic": True}
        return
    threads, deterministic = recorded["threads"], recorded["deterministic"]
    switched = "off instead of on" if deterministic else "on instead of off"
    yield f"determinism: {switched}", recorded | {"deterministic": not deterministic}
    for count in _thread_counts(cpu.available_count()):
        if count != threads:
            yield f"threads: {count} instead of {threads}", recorded | {"threads": count}
    for cause, choices in SETTINGS[environment["backend"]].items():
        for settings in choices:
            values = " ".join(f"{name}={value}" for name, value in settings.items())
            merged = env_vars.merge(recorded["settings"], settings)
            yield f"{cause}: {values}", recorded | {"settings": merged}
    if (flag := env_vars.CORRECT_XLA_FLAG) in env_vars.default_flags(
        environment["backend"], deterministic
    ):
        others = [omitted for omitted in recorded["omitted_flags"] if omitted != flag]
        was_on = flag in recorded["omitted_flags"]
        switched = "off instead of on" if was_on else "on instead of off"
        toggled = others if was_on else [*others, flag]
        yield f"XLA's YNN fusion: {switched}", recorded | {"omitted_flags": toggled}


def _thread_counts(most: int) -> list[int]:
    """Return 1 to ``most``, likely ones first: ``most``, the powers of two, the rest."""
    powers = [count for count in range(1, most) if count & (count - 1) == 0]
    return list(dict.fromkeys([most, *powers, *range(1, most)]))
