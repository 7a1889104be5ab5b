"""The panels of an experiment's picture, and the values that documents report, as frozen data.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ReportedValues:
    """Values that a document reports: for some intervals, one value per column of the history."""

    columns: tuple[str, ...]
    rows: Mapping[int, tuple[float, ...]]

    def points(self, column: str) -> dict[int, float]:
        """Return the reported values of ``column`` by interval; empty if there are none."""
        if column not in self.columns:
            return {}
        index = self.columns.index(column)
        return {interval: row[index] for interval, row in self.rows.items()}


@dataclass(frozen=True)
class Panel:
    """One set of axes of an experiment's picture.

    It shows a column of the history over the intervals, with ``label`` on the vertical axis. If
    ``against`` is the path of an arm's field, it shows the column's last value over that field,
    with one line for the arms whose names differ only after the last underscore. ``arms`` selects
    arms by the start of their names; ``mean`` draws the mean of an arm's runs.
    ``scale`` and ``limits`` apply to the vertical axis; ``across`` is the scale of the horizontal
    axis, ``along`` its label.
    """

    column: str
    label: str
    scale: str = "linear"
    limits: tuple[float, float] | None = None
    against: str | None = None
    across: str = "linear"
    along: str = "interval"
    arms: str = ""
    mean: bool = False


DEFAULT_PANELS = (
    Panel("test_loss", "test loss", "log"),
    Panel("test_accuracy", "test accuracy", limits=(0.0, 1.0)),
    Panel("logit_gap", "largest logit gap of a training sample", "log"),
)
