"""The parts of a verification that run in fresh processes: a rerun, an interval, single steps.

Import it only after ``determinism.start()``. All arguments and results are JSON types.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness.data import sources
from experiments.harness.data.dataset import Dataset
from experiments.harness.execution.task import RefusedError
from experiments.harness.runtime import determinism
from experiments.harness.spec import Run, RunSpec, batching, identity
from experiments.harness.storage import checkpoint, provenance, run_record
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.storage.fingerprint import tensor_digest
from experiments.harness.training import trainer
from experiments.harness.training.options import TrainOptions
from experiments.harness.training.stepper import Stepper


def rerun_until_divergence(
    recorded: str, source: str | None, folder: str, in_any_environment: bool
) -> dict[str, Any]:
    """Train the run in ``recorded`` again in ``folder``, up to the first link that differs.

    In another environment every link may differ: then train to the end if ``in_any_environment``,
    else raise ``RefusedError``. Returns the environment.
    """
    run, dataset = _load(recorded, source)
    spec = _spec_here(run.spec)
    same = spec.environment == run.spec.environment

    def diverges(now: Checkpoint) -> bool:
        return same and now.chain[-1] != run.chain[now.interval]

    if not (same or in_any_environment):
        raise RefusedError(spec.environment)
    options = TrainOptions(stop_after=run.intervals, should_stop=diverges)
    _train(replace(run, spec=spec), Path(folder), dataset, options)
    return dict(spec.environment)


def rerun_interval(
    recorded: str, source: str | None, before: str | None, folder: str, end: int
) -> str:
    """Train up to interval ``end`` in ``folder``; return its link.

    Starts from the checkpoint ``before``; if None, resumes in ``folder``.
    """
    run, dataset = _load(recorded, source)
    spec = _spec_here(run.spec)
    if before:
        first = replace(checkpoint.load(Path(before)), run_id=identity.run_id(spec))
        checkpoint.save(first, Path(folder) / "state")
    options = TrainOptions(stop_after=end)
    return _train(replace(run, spec=spec), Path(folder), dataset, options).chain[end]


def step_digests(
    recorded: str, source: str | None, before: str, number: int, saved: str
) -> list[dict[str, str]]:
    """Take the steps of the interval after the checkpoint ``before``; return each step's digests.

    Saves the tensors after step ``number`` of the interval in the file ``saved``.
    """
    run, dataset = _load(recorded, source)
    stepper = Stepper(run.spec, dataset, checkpoint.load(Path(before)))
    digests = []
    while stepper.done < stepper.end:
        after: dict[str, Any] = stepper.take().after
        digests.append({path: tensor_digest(tensor) for path, tensor in after.items()})
        if len(digests) == number:
            np.savez(saved, **after)
    return digests


def _load(recorded: str, source: str | None) -> tuple[Run, Dataset]:
    run = run_record.read(Path(recorded))
    return run, sources.load_recorded(run.spec, source)


def _spec_here(spec: RunSpec) -> RunSpec:
    """Return the spec with the environment of this process."""
    environment = identity.known_to(spec.environment, determinism.environment())
    here = replace(spec, environment=environment)
    if how := spec.environment.get(batching.FIELD):
        same_device = here.environment["device"] == spec.environment["device"]
        return batching.mark_batched(here, how if same_device else batching.IN_TURN)
    return here


def _train(run: Run, folder: Path, dataset: Dataset, options: TrainOptions) -> Run:
    """Train a run alone or, if it was batched, in the program of its batch."""
    options = replace(options, telemetry_every=0)
    run = replace(run, commit=provenance.commit())
    if batching.FIELD not in run.spec.environment:
        return trainer.train(run, folder, dataset, options)
    from experiments.harness.training.batched.trainer import train  # imports JAX

    (trained,) = train([run], [folder], dataset, options)
    return trained
