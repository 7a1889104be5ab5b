"""The metrics of a run after each interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self


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
