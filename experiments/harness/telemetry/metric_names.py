"""What TensorBoard calls a metric."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from experiments.harness.storage import run_record


def tag_of(name: str, metrics: Collection[str] = ()) -> str:
    """Return the tag of a column of the history, or of a metric of Keras's logs.

    ``test_loss`` and ``val_loss`` are ``loss/test``; ``loss`` is ``loss/train`` where ``metrics``,
    all names that there are, has one of them.
    """
    for prefix in ("test_", "val_"):
        if name.startswith(prefix):
            return f"{name.removeprefix(prefix)}/test"
        if f"{prefix}{name}" in metrics:
            return f"{name}/train"
    return name


def history_row(step: int, logs: Mapping[str, float]) -> dict[str, float]:
    """Return an interval's metrics under the names and in the order of ``history.csv``."""
    told = {"step": step, **{re.sub("^val_", "test_", name): v for name, v in logs.items()}}
    first = [name for name in run_record.COLUMNS if name in told]
    return {name: float(told[name]) for name in dict.fromkeys([*first, *told])}
