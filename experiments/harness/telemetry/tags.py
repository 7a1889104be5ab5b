"""What TensorBoard calls a metric."""

from __future__ import annotations

from collections.abc import Collection


def metric(name: str, metrics: Collection[str] = ()) -> str:
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
