"""What, beside arm, seed and data, decides a run's bits, one knob at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.harness.runtime import cpu, env_vars

_XLA = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"
Settings = dict[str, str]
# backend: knob: environment variables that turn it, one choice after the other
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
    """Return the arguments of ``determinism.start`` that bring an environment about again.

    As far as it can be had here: the processors may be fewer.
    """
    settings, deterministic = environment["settings"], environment.get("deterministic", True)
    if deterministic:  # start adds ours by itself
        settings = env_vars.without_defaults(environment["backend"], settings)
    return {
        "threads": min(environment["threads"], cpu.available_count()),
        "deterministic": deterministic,
        "settings": settings,
    }


def candidates(environment: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each knob turned by itself: what it is, and the arguments of ``determinism.start``."""
    as_it_was = recorded_start(environment)
    threads, deterministic = as_it_was["threads"], as_it_was["deterministic"]
    switched = {True: "off, not on", False: "on, not off"}[deterministic]
    yield f"determinism: {switched}", as_it_was | {"deterministic": not deterministic}
    for count in _likely_first(cpu.available_count()):
        if count != threads:
            yield f"threads: {count}, not {threads}", as_it_was | {"threads": count}
    for knob, choices in SETTINGS[environment["backend"]].items():
        for settings in choices:
            told = " ".join(f"{name}={value}" for name, value in settings.items())
            both = env_vars.merge(as_it_was["settings"], settings)
            yield f"{knob}: {told}", as_it_was | {"settings": both}


def _likely_first(most: int) -> list[int]:
    """Return 1 to ``most``: all of them, the powers of two, the rest."""
    powers = [count for count in range(1, most) if count & (count - 1) == 0]
    return list(dict.fromkeys([most, *powers, *range(1, most)]))
