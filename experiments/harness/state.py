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

from experiments.harness import files

MAGIC = b"rerun-zoo state 1\n"
KEPT = 2  # the newest, and the one before in case the newest is damaged
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError)


@dataclass(frozen=True)
class State:
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


def save(state: State, folder: Path) -> None:
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
    files.write(folder / f"{state.interval:06d}", MAGIC + checksum + b"\n" + payload)
    older = [path for path in _newest_first(folder) if int(path.name) <= state.interval]
    suspect = suspects([(row["loss"], row["test_loss"]) for row in state.rows])
    for other in set(_newest_first(folder)) - set(older[:KEPT]):
        if other not in older or int(other.name) not in {0, *(k - 1 for k in suspect[:1])}:
            other.unlink()


def suspects(losses: Sequence[tuple[float, float]]) -> list[int]:
    """Return the intervals, from 1, one of which holds the first step that was not finite.

    ``losses`` are each interval's training and test loss. A test loss alone tells little: the
    weights may be finite and evaluation not; but where they are not, the next training loss is not.
    """
    training, test = ([math.isfinite(pair[n]) for pair in losses] for n in (0, 1))
    first = training.index(False) + 1 if False in training else len(losses) + 1
    before = [first - 1] if first > 1 and not test[first - 2] else []
    return before + [first] * (first <= len(losses))


def newest(folder: Path, until: float = math.inf) -> tuple[State | None, list[str]]:
    """Return the newest sound state in ``folder``, if any, and a line for each damaged one.

    Those after more than ``until`` intervals are passed over.
    """
    damaged: list[str] = []
    for path in (path for path in _newest_first(folder) if int(path.name) <= until):
        try:
            return load(path), damaged
        except _DAMAGED as error:
            damaged.append(f"{path} is damaged ({error}); looking for the state before")
    return None, damaged


def load(path: Path) -> State:
    """Read a state; raises ``ValueError`` or ``OSError`` where it is damaged."""
    magic, checksum, payload = path.read_bytes().split(b"\n", 2)
    if magic + b"\n" != MAGIC or hashlib.sha256(payload).hexdigest().encode() != checksum:
        raise ValueError("its checksum does not hold")
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        tensors = {name: arrays[name] for name in arrays.files}
    facts = {"initial": {}} | json.loads(tensors.pop("_facts").item())  # older ones lack it
    facts = {"digests": [{}] * len(facts["chain"])} | facts  # and these
    tuples = {key: tuple(facts[key]) for key in ("rows", "chain", "digests")}
    return State(tensors=tensors, **facts | tuples)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*"), reverse=True)
