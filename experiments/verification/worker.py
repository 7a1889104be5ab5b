"""What verification does in processes of their own: a recorded run once more, or a part of it.

Import it only after ``determinism.start()``. Everything it is given and returns is JSON.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness.data import sources
from experiments.harness.data.dataset import Dataset
from experiments.harness.runtime import determinism
from experiments.harness.spec import Run, batching, identity
from experiments.harness.storage import checkpoint, run_record
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.storage.fingerprint import tensor_digest
from experiments.harness.training import trainer
from experiments.harness.training.stepper import Stepper


def rerun_until_divergence(
    recorded: str, source: str | None, folder: str, anywhere: bool
) -> dict[str, Any]:
    """Train the run in ``recorded`` once more in ``folder``, to the first link that is another one.

    In another environment, where all links may be, to its end if ``anywhere``, else not at all.
    Returns the environment.
    """
    run, dataset = _again(recorded, source)
    anew = _anew(run)
    same = anew.environment == run.environment

    def parted(now: Checkpoint) -> bool:
        return same and now.chain[-1] != run.chain[now.interval]

    if same or anywhere:
        _trained(anew, Path(folder), dataset, intervals=run.intervals, enough=parted)
    return dict(anew.environment)


def rerun_interval(
    recorded: str, source: str | None, begun: str | None, folder: str, end: int
) -> str:
    """Train as far as interval ``end`` in ``folder``; return its link.

    From the state in the file ``begun``; where None, from what ``folder`` holds, if anything.
    """
    run, dataset = _again(recorded, source)
    anew = _anew(run)
    if begun:
        taken = replace(checkpoint.load(Path(begun)), owner=identity.run_id(anew))
        checkpoint.save(taken, Path(folder) / "state")
    return _trained(anew, Path(folder), dataset, intervals=end).chain[end]


def step_digests(
    recorded: str, source: str | None, begun: str, kept: str, number: int
) -> list[dict[str, str]]:
    """Take the interval's steps after the state ``begun``; return the digests after each.

    What the tensors are after step ``number`` of them is written into the file ``kept``.
    """
    stepper = Stepper(*_again(recorded, source), checkpoint.load(Path(begun)))
    told = []
    while stepper.done < stepper.end:
        after: dict[str, Any] = stepper.take().after
        told.append({path: tensor_digest(tensor) for path, tensor in after.items()})
        if len(told) == number:
            np.savez(kept, **after)
    return told


def _again(recorded: str, source: str | None) -> tuple[Run, Dataset]:
    run = run_record.read(Path(recorded))
    return run, sources.load_recorded(run, source)


def _anew(run: Run) -> Run:
    """Return the run as it is before the first step, in the environment that this process has."""
    empty: dict[str, Any] = {"initial": {}, "history": {}, "chain": (), "digests": ()}
    anew = replace(run, environment=determinism.start(), seconds=0.0, **empty)
    if how := run.environment.get(batching.FIELD):
        same = anew.environment["device"] == run.environment["device"]
        return batching.mark_batched(anew, how if same else batching.IN_TURN)
    return anew


def _trained(run: Run, folder: Path, dataset: Dataset, **options: Any) -> Run:
    """Train a run alone or, where it was trained together with others, in that very program."""
    options |= {"telemetry": 0}
    if batching.FIELD not in run.environment:
        return trainer.train(run, folder, dataset, **options)
    from experiments.harness.training.batched.trainer import train  # imports JAX

    (made,) = train([run], [folder], dataset, **options)
    return made
