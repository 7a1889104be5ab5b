"""The processors of this machine: count them, pin this process to some, describe the model."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments.harness.spec import UserError

PORTABLE = "portable-1"  # stands for the processor in the environment of a portable run
PORTABLE_FEATURES = {"avx2", "fma"}  # that the processor of a portable run needs


def available_count() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pin(wanted: int | None) -> int:
    """Pin this process to ``wanted`` of its processors, or to all if None; return the number.

    Backends size their thread pools by it. Raises ``UserError`` if there are fewer processors, or
    if the system cannot pin a process.
    """
    count = available_count()
    if wanted is None or wanted == count:
        return count
    if not 1 <= wanted <= count:
        raise UserError(f"threads must be 1 to {count}, the available processors, not {wanted}")
    if not hasattr(os, "sched_setaffinity"):
        raise UserError(f"this system cannot pin a process to {wanted} of {count} processors")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:wanted])
    return wanted


def caches() -> str:
    """Return the sizes of the first processor's caches, by which kernels choose their blocks.

    Empty if the system does not say.
    """
    sizes = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with suppress(OSError):
            level, kind, size = (
                (folder / name).read_text().strip() for name in ("level", "type", "size")
            )
            if kind != "Instruction":
                sizes[f"L{level}{'d' * (kind == 'Data')}"] = size
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def describe() -> str:
    """Return the processor's model, architecture and a hash of its features (SIMD and others)."""
    info = _info()
    features = hashlib.sha256(info.get("flags", "").encode()).hexdigest()[:8]
    return f"{info.get('model name', platform.processor())} {platform.machine()} {features}"


def is_portable(environment: Mapping[str, Any]) -> bool:
    """Return whether an environment is the portable profile's."""
    return bool(environment["cpu"] == PORTABLE)


def check_portable() -> None:
    """Raise ``UserError`` if the portable profile does not support this machine."""
    system = f"{sys.platform} on {platform.machine()}"
    if system != "linux on x86_64":
        raise UserError(f"the portable profile needs Linux on x86-64, not {system}")
    if missing := PORTABLE_FEATURES - set(_info().get("flags", "").split()):
        raise UserError(
            f"the portable profile needs a processor with {' and '.join(sorted(missing))}; leave "
            "out --portable to train with this processor's own bits"
        )


def _info() -> dict[str, str]:
    """Return what Linux says of the first processor; elsewhere nothing."""
    info: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            info.setdefault(key.strip(), value.strip())
    return info
