"""The whole state of a training in one file: what a killed run continues from."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.runtime import filesystem

MAGIC = b"rerun-zoo state 1\n"
KEPT = 2  # states kept: the newest, and the one before in case the newest is damaged
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError)


@dataclass(frozen=True)
class Checkpoint:
    """Everything after ``interval`` intervals.

    ``tensors`` are the variables (weights, optimiser, seeds) by path; ``initial`` what was
    measured before the first step; ``rows`` the history, a mapping of metrics an interval;
    ``chain`` the fingerprints, ``digests`` the tensors' own (``Run``); ``seconds`` the training
    time. ``owner`` is the digest of the identity of the run that it belongs to.
    """

    owner: str
    interval: int
    tensors: Mapping[str, NDArray[Any]]
    initial: Mapping[str, float]
    rows: tuple[Mapping[str, float], ...]
    chain: tuple[str, ...]
    digests: tuple[Mapping[str, str], ...]
    seconds: float


def save(state: Checkpoint, folder: Path) -> None:
    """Write ``state`` into ``folder``, whole or not at all, and delete what need not be kept.

    Kept are it, the one before it, the initial one, and the last one from before any training
    step that was not finite.
    """
    facts = {name: value for name, value in vars(state).items() if name != "tensors"}
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"_facts": np.array(json.dumps(facts)), **state.tensors}
    np.savez(buffer, **arrays)
    payload = buffer.getvalue()
    checksum = hashlib.sha256(payload).hexdigest().encode()
    folder.mkdir(exist_ok=True)
    filesystem.write_atomic(path(folder, state.interval), MAGIC + checksum + b"\n" + payload)
    found = saved(folder)
    older = [interval for interval in found if interval <= state.interval]
    suspect = nonfinite_candidates([(row["loss"], row["test_loss"]) for row in state.rows])
    needed = {0, *older[-KEPT:], *(interval - 1 for interval in suspect[:1])}
    for interval in sorted(set(found) - needed.intersection(older), reverse=True):
        found[interval].unlink()


def path(folder: Path, interval: int) -> Path:
    """Return where the state after ``interval`` intervals is."""
    return folder / f"{interval:06d}"


def saved(folder: Path) -> dict[int, Path]:
    """Return the states in ``folder`` by interval, the newest last."""
    return {int(path.name): path for path in sorted(folder.glob("[0-9]*")) if path.name.isdigit()}


def nonfinite_candidates(losses: Sequence[tuple[float, float]]) -> list[int]:
    """Return the intervals, from 1, one of which holds the first step that was not finite.

    ``losses`` are each interval's training and test loss. A test loss alone tells little: the
    weights may be finite and evaluation not; but where they are not, the next training loss is not.
    """
    training, test = ([math.isfinite(pair[n]) for pair in losses] for n in (0, 1))
    first = training.index(False) + 1 if False in training else len(losses) + 1
    before = [first - 1] if first > 1 and not test[first - 2] else []
    return before + [first] * (first <= len(losses))


def load_newest(folder: Path, until: float = math.inf) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest sound state in ``folder``, if any, and a line for each damaged one.

    Those after more than ``until`` intervals are passed over.
    """
    damaged: list[str] = []
    for interval, found in reversed(saved(folder).items()):
        try:
            if interval <= until:
                return load(found), damaged
        except DAMAGED as error:
            damaged.append(f"{found} is damaged ({error}); looking for the state before")
    return None, damaged


def load(path: Path) -> Checkpoint:
    """Read a state; raises one of ``DAMAGED`` where it is."""
    magic, checksum, payload = path.read_bytes().split(b"\n", 2)
    if magic + b"\n" != MAGIC or hashlib.sha256(payload).hexdigest().encode() != checksum:
        raise ValueError("its checksum does not hold")
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        tensors = {name: arrays[name] for name in arrays.files}
    facts = {"initial": {}} | json.loads(tensors.pop("_facts").item())  # older ones lack it
    facts = {"digests": [{}] * len(facts["chain"])} | facts  # and these
    tuples = {key: tuple(facts[key]) for key in ("rows", "chain", "digests")}
    return Checkpoint(tensors=tensors, **facts | tuples)
