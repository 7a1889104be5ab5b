"""What an experiment's picture shows: panels of axes, and the values that documents print.

Frozen data. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ReportedValues:
    """Values that a document prints: at each interval one for each column of the history."""

    columns: tuple[str, ...]
    rows: Mapping[int, tuple[float, ...]]

    def points(self, column: str) -> dict[int, float]:
        """Return the column's printed values by interval, empty where it has none."""
        if column not in self.columns:
            return {}
        place = self.columns.index(column)
        return {interval: row[place] for interval, row in self.rows.items()}


@dataclass(frozen=True)
class Panel:
    """One set of axes of an experiment's picture: a column of the history over the intervals.

    With ``against``, the path of an arm's field, it is the column's last value over that field's,
    a line for all the arms that share a name up to its last underscore. ``arms`` picks those
    whose names begin so; with ``mean`` an arm's runs are drawn as one line. ``scale`` and
    ``limits`` are the vertical axis's, ``across`` is the horizontal one's scale, ``along`` its
    label.
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
    Panel("logit_gap", "largest logit gap of a training sample"),
)
