"""All renames of metrics: Keras's logs -> columns of history.csv -> TensorBoard tags."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

FIRST_COLUMNS = ("step", "loss", "accuracy", "test_loss", "test_accuracy")  # if present


def tensorboard_tag(name: str, metrics: Collection[str] = ()) -> str:
    """Return the TensorBoard tag of a column of ``history.csv`` or of a metric in Keras's logs.

    ``test_loss`` and ``val_loss`` become ``loss/test``. ``loss`` becomes ``loss/train`` if
    ``metrics``, the names of all columns or logs, contains either of them.
    """
    for prefix in ("test_", "val_"):
        if name.startswith(prefix):
            return f"{name.removeprefix(prefix)}/test"
        if f"{prefix}{name}" in metrics:
            return f"{name}/train"
    return name


def history_row(step: int, logs: Mapping[str, float]) -> dict[str, float]:
    """Return an interval's row of ``history.csv``, with the columns in their order."""
    row = {"step": step, **{re.sub("^val_", "test_", name): v for name, v in logs.items()}}
    first = [name for name in FIRST_COLUMNS if name in row]
    return {name: float(row[name]) for name in dict.fromkeys([*first, *row])}
