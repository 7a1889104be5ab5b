"""The whole state of a training in one file: what a killed run continues from."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.runtime import filesystem
from experiments.harness.spec import History
from experiments.harness.storage import nested

MAGIC = b"rerun-zoo state 1\n"
EXTRA = "_extra/"  # before the number of an array of ``Checkpoint.extra``
KEPT = 2  # the newest, and the one before in case the newest is damaged
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError)


@dataclass(frozen=True)
class Checkpoint:
    """The whole state of a training after ``interval`` intervals.

    ``tensors`` are the variables (weights, optimiser, seeds) by path, ``run_id`` names the run
    that the checkpoint belongs to; ``initial``, ``history``, ``chain``, ``digests``, ``seconds``
    and ``cpu_seconds`` are the run's so far (``spec.Run``). ``extra`` is what else is needed to
    resume, outside of the fingerprint, in the form that ``nested.split`` takes.
    """

    run_id: str
    interval: int
    tensors: Mapping[str, NDArray[Any]]
    initial: Mapping[str, float]
    history: History
    chain: tuple[str, ...]
    digests: tuple[Mapping[str, str], ...]
    seconds: float
    cpu_seconds: float | None
    extra: Mapping[str, Any] = field(default_factory=dict)


def save(state: Checkpoint, folder: Path) -> None:
    """Write ``state`` into ``folder``, whole or not at all, and delete checkpoints not needed.

    What stays: this one, the one before, the initial one, and the last one before the first
    nonfinite training step.
    """
    facts = {
        "owner": state.run_id,
        "interval": state.interval,
        "initial": state.initial,
        "rows": state.history.rows,
        "chain": state.chain,
        "digests": state.digests,
        "seconds": state.seconds,
        "cpu_seconds": state.cpu_seconds,
    }
    others: list[NDArray[Any]] = []
    if state.extra:
        facts["extra"] = nested.split(state.extra, others)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"_facts": np.array(json.dumps(facts)), **state.tensors}
    arrays |= {f"{EXTRA}{number}": array for number, array in enumerate(others)}
    np.savez(buffer, **arrays)
    payload = buffer.getvalue()
    checksum = hashlib.sha256(payload).hexdigest().encode()
    folder.mkdir(exist_ok=True)
    filesystem.write_atomic(path(folder, state.interval), MAGIC + checksum + b"\n" + payload)
    found = saved(folder)
    older = [interval for interval in found if interval <= state.interval]
    needed = {0, *older[-KEPT:], *_before_nonfinite(state.history)}
    for interval in sorted(set(found) - needed.intersection(older), reverse=True):
        found[interval].unlink()


def essential(folder: Path) -> list[Path]:
    """Return the paths of the newest valid checkpoint and of those kept for other reasons.

    These are the initial one, and the last before the first nonfinite step. All if none is valid.
    """
    newest, _ = load_newest(folder)
    found = saved(folder)
    if newest is None:
        return [*found.values()]
    needed = {0, newest.interval, *_before_nonfinite(newest.history)}
    return [path for interval, path in found.items() if interval in needed]


def _before_nonfinite(history: History) -> list[int]:
    return [interval - 1 for interval in nonfinite_candidates(history)[:1]]


def path(folder: Path, interval: int) -> Path:
    """Return the path of the checkpoint after ``interval`` intervals."""
    return folder / f"{interval:06d}"


def saved(folder: Path) -> dict[int, Path]:
    """Return the paths of the checkpoints in ``folder`` by interval, the newest last."""
    return {int(path.name): path for path in sorted(folder.glob("[0-9]*")) if path.name.isdigit()}


def nonfinite_candidates(history: History) -> list[int]:
    """Return the intervals, from 1, one of which contains the first nonfinite step.

    A nonfinite test loss alone does not decide it: the weights may still be finite. If they are
    not, the next training loss is nonfinite too.
    """
    training = [math.isfinite(row.get("loss", 0.0)) for row in history.rows]
    test = [math.isfinite(row.get("test_loss", 0.0)) for row in history.rows]
    first = training.index(False) + 1 if False in training else len(training) + 1
    before = [first - 1] if first > 1 and not test[first - 2] else []
    return [*before, first] if first <= len(training) else before


def load_newest(folder: Path, until: float = math.inf) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest valid checkpoint in ``folder``, if any, and a line for each damaged one.

    Checkpoints after more than ``until`` intervals are passed over.
    """
    damaged: list[str] = []
    for interval, found in reversed(saved(folder).items()):
        try:
            if interval <= until:
                return load(found), damaged
        except DAMAGED as error:
            damaged.append(f"{found} is damaged ({error}); trying the one before")
    return None, damaged


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; raises one of ``DAMAGED`` if it is damaged."""
    magic, checksum, payload = path.read_bytes().split(b"\n", 2)
    if magic + b"\n" != MAGIC or hashlib.sha256(payload).hexdigest().encode() != checksum:
        raise ValueError("its checksum does not match")
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        tensors = {name: arrays[name] for name in arrays.files}
    facts = json.loads(tensors.pop("_facts").item())
    others = [tensors.pop(name) for name in list(tensors) if name.startswith(EXTRA)]
    return Checkpoint(
        run_id=facts["owner"],
        interval=facts["interval"],
        tensors=tensors,
        initial=facts.get("initial", {}),  # older checkpoints lack it
        history=History(tuple(facts["rows"])),
        chain=tuple(facts["chain"]),
        digests=tuple(facts.get("digests", [{}] * len(facts["chain"]))),  # and these
        seconds=facts["seconds"],
        cpu_seconds=facts.get("cpu_seconds"),  # and this
        extra=nested.join(facts.get("extra", {"dict": []}), others),
    )
