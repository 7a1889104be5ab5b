"""Runs: one arm, trained once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from experiments.harness.spec.arm import Arm, Scale

Status = Literal["running", "interrupted", "partial", "complete"]


@dataclass(frozen=True)
class Run:
    """What one training left behind.

    ``experiment`` and ``arm_name`` are those that the arm belongs to, whoever names it too.
    ``changes`` are the overrides that the user asked for, already made in ``arm``.
    ``initial`` maps what was measured before the first step to its values, ``history`` a column's
    name to its values, one an interval; ``chain`` holds the fingerprint before the first step and
    after each interval, ``digests`` at the same places each tensor's digest by its path, and as
    ``batches`` a mark for each of the interval's steps (``harness/fingerprint.py``).
    """

    experiment: str
    arm_name: str
    arm: Arm
    seed: int
    scale: Scale
    dataset: Mapping[str, Any]
    environment: Mapping[str, Any]
    changes: Mapping[str, Any] = field(default_factory=dict)
    status: Status = "running"
    initial: Mapping[str, float] = field(default_factory=dict)
    history: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    chain: tuple[str, ...] = ()
    digests: tuple[Mapping[str, str], ...] = ()
    started: str = ""
    seconds: float = 0.0
    commit: str | None = None

    @property
    def home(self) -> str:
        """The arm that it belongs to, as ``experiment:arm``."""
        return f"{self.experiment}:{self.arm_name}"

    @property
    def intervals(self) -> int:
        """The number of finished intervals."""
        return max(0, len(self.chain) - 1)

    @property
    def fingerprint(self) -> str | None:
        """The chain's last link, None before there is one."""
        return self.chain[-1] if self.chain else None
