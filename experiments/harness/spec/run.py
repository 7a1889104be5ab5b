"""Runs: an arm trained with one seed. A ``RunSpec`` is the plan, a ``Run`` the outcome.

A user's own script has the same outcome under a plan of its own, ``ScriptSpec``: a ``ScriptRun``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any, Literal, Self, TypeVar

from experiments.harness.spec.arm import Arm, Scale

_T = TypeVar("_T")
Status = Literal["running", "interrupted", "partial", "complete"]


@dataclass(frozen=True)
class RunSpec:
    """What is to be trained, and in which environment: everything that decides a run's bits.

    ``experiment`` and ``arm_name`` name the arm where it is defined; other experiments may share
    it. ``overrides`` are the user's, already applied to ``arm``. ``dataset`` is
    ``Dataset.identity()``, ``environment`` is ``determinism.environment()``. ``data_source`` is the
    absolute path of the data, which decides nothing; None for built-in data and in old records.
    ``code`` has the SHA-256 of the files of the user's own that the run needs, by their path in
    ``code_folder``, which decides nothing, or by module; it is empty for the catalogue's arms.
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
    code: Mapping[str, str] = field(default_factory=dict)
    code_folder: str | None = None

    @property
    def arm_id(self) -> str:
        """The arm as ``experiment:arm``."""
        return f"{self.experiment}:{self.arm_name}"

    @property
    def title(self) -> str:
        """The plan in a few words."""
        return f"{self.arm_id}, {self.scale}, seed {self.seed}"

    @property
    def steps(self) -> int:
        """The number of steps of an interval."""
        return self.arm.steps

    def identity(self) -> dict[str, Any]:
        """Return what decides the run's bits, as JSON types."""
        own = {"code": dict(self.code)} if self.code else {}
        return own | {
            "arm": self.arm.identity(),
            "seed": self.seed,
            "dataset": self.dataset["sha256"],
            "environment": dict(self.environment),
        }


@dataclass(frozen=True)
class ScriptSpec:
    """What a user's script trains: everything that is known to decide the bits.

    ``script`` is the command, which decides nothing by itself. ``model`` describes the compiled
    model, ``data`` the batches as far as they are known, ``steps`` is the number of steps of an
    epoch, None if unknown, ``seed`` is that of ``keras.utils.set_random_seed``, None without one.
    """

    script: str
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    steps: int | None
    seed: int | None
    environment: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The plan in a few words."""
        return f"{self.script}, {'no seed' if self.seed is None else f'seed {self.seed}'}"

    def identity(self) -> dict[str, Any]:
        """Return what decides the run's bits, as JSON types."""
        return {
            "model": dict(self.model),
            "data": dict(self.data),
            "steps": self.steps,
            "seed": self.seed,
            "environment": dict(self.environment),
        }


class NotReachedError(Exception):
    """A measure needs an interval that an unfinished run has not reached."""


@dataclass(frozen=True)
class History(Mapping[str, Sequence[float]]):
    """An immutable table of metrics: one row per interval, one column per metric.

    As a mapping it returns a column's values by its name, NaN for a row that lacks it.
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

    def __getitem__(self, column: str) -> Sequence[float]:
        if column not in self.columns:
            raise KeyError(column)
        return tuple(row.get(column, nan) for row in self.rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the metrics, in order."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    @property
    def finite(self) -> Sequence[bool]:
        """Whether the training and the test loss are finite, by interval."""
        return tuple(isfinite(row["loss"]) and isfinite(row["test_loss"]) for row in self.rows)


class UnfinishedHistory(History):
    """The history of a run that is not complete.

    A measure that is decided by the intervals it has reads it as any other. One that needs a later
    interval, or the last, gets ``NotReachedError``.
    """

    def __getitem__(self, column: str) -> Sequence[float]:
        return _Beginning(super().__getitem__(column))

    @property
    def finite(self) -> Sequence[bool]:
        """Whether the training and the test loss are finite, by interval."""
        return _Beginning(super().finite)


class _Beginning(Sequence[_T]):
    """The beginning of a sequence whose end is not known yet."""

    def __init__(self, values: Sequence[_T]):
        self.values = values

    def __getitem__(self, index: Any) -> Any:
        whole = isinstance(index, slice)
        first, end = (index.start or 0, index.stop) if whole else (index, index + 1)
        if first < 0 or end is None or not 0 <= end <= len(self.values):
            raise NotReachedError
        return self.values[index]

    def __array__(self, *_: Any, **__: Any) -> Any:  # of NumPy's functions
        raise NotReachedError

    def __iter__(self) -> Iterator[_T]:
        yield from self.values
        raise NotReachedError

    def __len__(self) -> int:
        raise NotReachedError


@dataclass(frozen=True)
class Recorded:
    """A plan and its outcome so far.

    ``initial`` maps each metric to its value before the first step. ``chain`` holds the fingerprint
    before the first step and after each interval. ``digests`` holds, for the same times, each
    tensor's digest by its path, and under ``batches`` the checksums of the interval's batches
    (``storage/fingerprint.py``). ``started`` is an ISO 8601 time, ``seconds`` the training time,
    ``cpu_seconds`` the CPU time of all threads of the process meanwhile, None in older records.
    ``commit`` is that of the code when the run began, ``commit_at_end`` when its training last
    ended, with ``+`` if the code is modified; None outside git, in training, and in old records.
    """

    spec: RunSpec | ScriptSpec
    status: Status = "running"
    initial: Mapping[str, float] = field(default_factory=dict)
    history: History = field(default_factory=History)
    chain: tuple[str, ...] = ()
    digests: tuple[Mapping[str, str], ...] = ()
    started: str = ""
    seconds: float = 0.0
    cpu_seconds: float | None = 0.0
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


@dataclass(frozen=True)
class Run(Recorded):
    """A ``RunSpec`` and its outcome so far.

    ``resumed`` counts how often a process continued it, after a kill or a planned stop; None if
    its record does not say. ``first_started`` is when the first run like it began, if a record
    knows of one (ISO 8601). ``also_started`` is when other runs with the same fingerprint began, as
    a record knows. ``nan_cause`` is the explanation of its NaN that ``replay --keep`` has saved, if
    it has.
    """

    spec: RunSpec
    resumed: int | None = 0
    first_started: str = ""
    also_started: tuple[str, ...] = ()
    nan_cause: str = ""

    @property
    def known_since(self) -> str:
        """When the outcome of such a run began to be known."""
        return min(filter(None, (self.first_started, self.started, *self.also_started)), default="")


@dataclass(frozen=True)
class ScriptRun(Recorded):
    """A ``ScriptSpec`` and its outcome so far.

    ``inexact`` lists why the bits may differ from those of an undisturbed training, and after how
    many epochs: ``{"after": 3, "why": "..."}``.
    """

    spec: ScriptSpec
    inexact: tuple[Mapping[str, Any], ...] = ()
