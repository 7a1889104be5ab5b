"""What this process finds of the machine: its processors, and how to keep to some of them."""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from pathlib import Path

from experiments.harness.spec import UserError


def available() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pin(wanted: int | None) -> int:
    """Keep this process to ``wanted`` of its processors, all where None; return how many.

    Every backend's threads follow that. Raises ``UserError`` where there are fewer, or where the
    system cannot do it.
    """
    has = available()
    if wanted is None or wanted == has:
        return has
    if not 1 <= wanted <= has:
        raise UserError(f"threads must be 1 to {has}, the processors that there are, not {wanted}")
    if not hasattr(os, "sched_setaffinity"):
        raise UserError(f"this system cannot keep a process to {wanted} of {has} processors")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:wanted])
    return wanted


def describe() -> str:
    """Return the processor's model and a hash of its features, such as vector extensions."""
    facts: dict[str, str] = {}
    with suppress(OSError):  # elsewhere than on Linux the platform's own words must do
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    features = hashlib.sha256(facts.get("flags", "").encode()).hexdigest()[:8]
    return f"{facts.get('model name', platform.processor())} {platform.machine()} {features}"
