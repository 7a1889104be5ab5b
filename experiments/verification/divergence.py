"""Find where two recorded runs diverge, and how far apart their tensors are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.harness.spec import UserError, identity
from experiments.harness.spec.run import Recorded
from experiments.harness.storage import checkpoint
from experiments.harness.storage.fingerprint import CHECKSUM_DIGITS
from experiments.verification.tensor_diff import (
    Distance,
    differing_names,
    distance,
    first_difference,
    first_differing_batch,
    is_random_state,
)


@dataclass(frozen=True)
class Divergence:
    """Where two runs diverge, and the likely cause.

    ``interval`` 0 is before the first step; ``step`` counts from 1, None if unknown. ``tensors``
    are the first that differ; ``distance`` is that of one of them, measured after an interval or
    step: ``measured_after``.
    """

    interval: int
    cause: str
    step: int | None = None
    tensors: Sequence[str] = ()
    distance: Distance | None = None
    measured_after: str = ""


def environment_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return a line for each difference of two environments; bits are comparable if none."""
    differences = identity.differences(identity.known_to(b, a), identity.known_to(a, b))
    return [f"{path}: {x} in the first run, {y} in the second" for path, x, y in differences]


def check_comparable(a: Recorded, b: Recorded) -> None:
    """Raise ``UserError`` unless two runs are of one arm or model, seed and dataset."""
    first, second = (identity.identity_of(run.spec) | {"environment": None} for run in (a, b))
    if differences := identity.differences(first, second):
        lines = "; ".join(f"{path} is {x} and {y}" for path, x, y in differences[:3])
        raise UserError(f"these are two different runs: {lines}")


def compare(a: Recorded, b: Recorded, directories: Sequence[Path]) -> Divergence | None:
    """Return where two runs, recorded in ``directories``, diverge; None if they are identical.

    An empty ``cause`` is unknown from the records alone.
    """
    interval = first_difference(a.chain, b.chain)
    if interval is None:
        return _compare_tables(a, b)
    if interval >= min(len(a.chain), len(b.chain)):
        return Divergence(interval, f"one of the runs ends after interval {interval - 1}")
    digests_a, digests_b = a.digests[interval], b.digests[interval]
    has_digests = bool(digests_a and digests_b)  # older runs have none
    names = differing_names(digests_a, digests_b) if has_digests else []
    step, cause = None, ""
    if "batches" in names:
        index = first_differing_batch(digests_a["batches"], digests_b["batches"])
        steps = len(digests_a["batches"]) // CHECKSUM_DIGITS
        step = (interval - 1) * (a.spec.steps or steps) + (index or 0) + 1
        cause = f"the batch of step {step}: its examples or their order differ"
    elif not interval and names:
        kind = "random-number state" if is_random_state(names[0]) else "initial values"
        cause = f"{kind}: {names[0]} differs before the first step"
    elif has_digests and not names:
        return Divergence(interval, _cause_without_tensors(a, b, interval))
    tensors = [name for name in names if name != "batches"]
    found, measured_after = tensor_distance(directories, interval, tensors)
    return Divergence(interval, cause, step, tensors, found, measured_after)


def tensor_distance(
    directories: Sequence[Path], interval: int, names: Sequence[str]
) -> tuple[Distance | None, str]:
    """Return the distance of the first tensor that differs, and after which interval.

    Compares the first checkpoints, from ``interval`` on, that both directories have; the tensors
    called ``names`` come first.
    """
    first, second = (checkpoint.saved(directory / "state") for directory in directories)
    for later in (later for later in first if later >= interval):
        try:
            a, b = (checkpoint.load(paths[later]).tensors for paths in (first, second))
        except (KeyError, *checkpoint.DAMAGED):  # only in one directory, or damaged
            continue
        for path in [*names, *a]:
            if path in a and path in b and a[path].tobytes() != b[path].tobytes():
                return distance(path, a[path], b[path]), f"interval {later}"
    return None, ""


def _compare_tables(a: Recorded, b: Recorded) -> Divergence | None:
    """Return where the tables of two runs with equal links differ; None if nowhere."""
    for interval, digests in enumerate(zip(a.digests, b.digests, strict=True)):
        if names := _differing_values(*digests):
            return Divergence(interval, _edited_table("digests.csv", names))
        if names := _differing_values(_metrics(a, interval), _metrics(b, interval)):
            table = "history.csv" if interval else "run.json"
            return Divergence(interval, _edited_table(table, names))
    return None


def _edited_table(table: str, names: Sequence[str]) -> str:
    shown = ", ".join([*names[:3], *["..."] * (len(names) > 3)])
    return f"the record: {table} was edited ({shown}); all links are equal"


def _cause_without_tensors(a: Recorded, b: Recorded, interval: int) -> str:
    """Return the cause of different links if all tensors are equal."""
    if names := _differing_values(_metrics(a, interval), _metrics(b, interval)):
        return f"metrics: {', '.join(names)}; the network is the same"
    return "the record: the link was edited; the tensors and metrics that it hashes are equal"


def _metrics(run: Recorded, interval: int) -> Mapping[str, float]:
    return run.history.rows[interval - 1] if interval else run.initial


def _differing_values(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return the names in both whose values differ; two NaNs are equal."""
    return [name for name in a if name in b and repr(a[name]) != repr(b[name])]
