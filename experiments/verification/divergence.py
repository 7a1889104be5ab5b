"""Where two recorded runs diverge, and how far apart their tensors are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.harness.spec import Run, UserError, identity
from experiments.harness.storage import checkpoint
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
    """Where two runs part, and what is known of it.

    ``interval`` 0 is before the first step; ``step`` counts from 1, None where it is not known;
    ``tensors`` are those that differ first, ``apart`` how far, after ``at``; ``cause`` is the
    likely one.
    """

    interval: int
    cause: str
    step: int | None = None
    tensors: Sequence[str] = ()
    apart: Distance | None = None
    at: str = ""


def environment_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return how two environments differ, a line each; bits compare where there is none."""
    pairs = identity.differences(dict(a), dict(b))
    return [f"{path}: {x} in the one, {y} in the other" for path, x, y in pairs]


def check_comparable(a: Run, b: Run) -> None:
    """Raise ``UserError`` where two runs are not of one arm, seed and dataset."""
    one, other = (identity.identity_of(run.spec) | {"environment": None} for run in (a, b))
    if found := identity.differences(one, other):
        told = "; ".join(f"{path} is {x} and {y}" for path, x, y in found[:3])
        raise UserError(f"these are two different runs: {told}")


def compare(a: Run, b: Run, folders: Sequence[Path]) -> Divergence | None:
    """Return where two runs part that left what they left in ``folders``; None if nowhere."""
    place = first_difference(a.chain, b.chain)
    if place is None:
        return _tables(a, b)
    if place >= min(len(a.chain), len(b.chain)):
        return Divergence(place, f"one of them ends after interval {place - 1}")
    kept = bool(a.digests[place] and b.digests[place])  # older runs have no digests
    names = differing_names(a.digests[place], b.digests[place]) if kept else []
    step, cause = None, ""
    if "batches" in names:
        inside = first_differing_batch(a.digests[place]["batches"], b.digests[place]["batches"])
        step = (place - 1) * a.spec.arm.steps + (inside or 0) + 1
        cause = f"the batch of step {step}: other examples, or in another order"
    elif not place and names:
        kind = "random-number state" if is_random_state(names[0]) else "initial values"
        cause = f"{kind}: {names[0]} is not the same before the first step"
    elif kept and not names:
        return Divergence(place, _metrics(a, b, place))
    tensors = [name for name in names if name != "batches"]
    apart, at = tensor_distance(folders, place, tensors)
    return Divergence(place, cause, step, tensors, apart, at)


def _tables(a: Run, b: Run) -> Divergence | None:
    """Return where the tables differ of two runs whose links are the same; None if nowhere."""
    for place, rows in enumerate(zip(a.digests, b.digests, strict=True)):
        if names := _unlike(*rows):
            return Divergence(place, _edited("digests.csv", names))
        if names := _unlike(*(_measured(run, place) for run in (a, b))):
            return Divergence(place, _edited("history.csv" if place else "run.json", names))
    return None


def _edited(file: str, names: Sequence[str]) -> str:
    shown = ", ".join([*names[:3], *["..."] * (len(names) > 3)])
    return f"the record: {file} was changed ({shown}); all links are the same"


def _measured(run: Run, place: int) -> Mapping[str, float]:
    return {n: values[place - 1] for n, values in run.history.items()} if place else run.initial


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the names that both have, for values that differ; of two NaNs none does."""
    return [name for name in one if name in other and repr(one[name]) != repr(other[name])]


def _metrics(a: Run, b: Run, place: int) -> str:
    """Return what differs where all tensors are the same."""
    if names := _unlike(_measured(a, place), _measured(b, place)):
        return f"what was measured: {', '.join(names)}; the network is the same"
    return "the record: the link itself was changed, all that it is made of is the same"


def tensor_distance(
    folders: Sequence[Path], place: int, names: Sequence[str]
) -> tuple[Distance | None, str]:
    """Return how far apart the first of the tensors is in the first states that both have kept."""
    kept = [checkpoint.saved(folder / "state") for folder in folders]
    for interval in (interval for interval in kept[0] if interval >= place):
        try:
            a, b = (checkpoint.load(paths[interval]).tensors for paths in kept)
        except (KeyError, *checkpoint.DAMAGED):  # only one has kept it, or it is damaged
            continue
        for path in [*names, *a]:
            if path in a and path in b and a[path].tobytes() != b[path].tobytes():
                return distance(path, a[path], b[path]), f"interval {interval}"
    return None, ""
