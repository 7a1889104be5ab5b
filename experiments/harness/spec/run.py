"""Runs: an arm trained with one seed. A ``RunSpec`` is the plan, a ``Run`` the outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, Self

from experiments.harness.spec.arm import Arm, Scale

Status = Literal["running", "interrupted", "partial", "complete"]


@dataclass(frozen=True)
class RunSpec:
    """What is to be trained, and in which environment: everything that decides a run's bits.

    ``experiment`` and ``arm_name`` name the arm where it is defined; other experiments may share
    it. ``overrides`` are the user's, already applied to ``arm``. ``dataset`` is
    ``Dataset.identity()``, ``environment`` is ``determinism.environment()``. ``data_source`` is the
    absolute path of the data, which decides nothing; None for built-in data and in old records.
    """

    experiment: str
    arm_name: str
    arm: Arm
    seed: int
    scale: Scale
    dataset: Mapping[str, Any]
    environment: Mapping[str, Any]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    data_source: str | None = None

    @property
    def arm_id(self) -> str:
        """The arm as ``experiment:arm``."""
        return f"{self.experiment}:{self.arm_name}"


@dataclass(frozen=True)
class History(Mapping[str, tuple[float, ...]]):
    """An immutable table of metrics: one row per interval, one column per metric.

    As a mapping it returns a column's values by its name. The first row defines the columns.
    """

    rows: tuple[Mapping[str, float], ...] = ()

    @classmethod
    def from_columns(cls, columns: Mapping[str, Sequence[float]]) -> Self:
        """Return the history with these columns, which have the same length."""
        values = zip(*columns.values(), strict=True)
        return cls(tuple(dict(zip(columns, row, strict=True)) for row in values))

    def append(self, row: Mapping[str, float]) -> Self:
        """Return a history with one more interval."""
        return type(self)((*self.rows, row))

    def __getitem__(self, column: str) -> tuple[float, ...]:
        if column not in self.columns:
            raise KeyError(column)
        return tuple(row[column] for row in self.rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the metrics, in order."""
        return tuple(self.rows[0]) if self.rows else ()

    @property
    def finite(self) -> tuple[bool, ...]:
        """Whether the training and the test loss are finite, by interval."""
        return tuple(isfinite(row["loss"]) and isfinite(row["test_loss"]) for row in self.rows)


@dataclass(frozen=True)
class Run:
    """A ``RunSpec`` and its outcome so far.

    ``initial`` maps each metric to its value before the first step. ``chain`` holds the fingerprint
    before the first step and after each interval. ``digests`` holds, for the same times, each
    tensor's digest by its path, and under ``batches`` the checksums of the interval's batches
    (``storage/fingerprint.py``). ``started`` is an ISO 8601 time, ``seconds`` the training time,
    ``commit`` is that of the code when the run began, ``commit_at_end`` when its training last
    ended, with ``+`` if the code is modified; None outside git, in training, and in old records.
    """

    spec: RunSpec
    status: Status = "running"
    initial: Mapping[str, float] = field(default_factory=dict)
    history: History = field(default_factory=History)
    chain: tuple[str, ...] = ()
    digests: tuple[Mapping[str, str], ...] = ()
    started: str = ""
    seconds: float = 0.0
    commit: str | None = None
    commit_at_end: str | None = None

    @property
    def intervals(self) -> int:
        """The number of finished intervals."""
        return max(0, len(self.chain) - 1)

    @property
    def fingerprint(self) -> str | None:
        """The last link of the chain; None if there is none."""
        return self.chain[-1] if self.chain else None
