"""Where a training starts: from its newest checkpoint, or from its initial values."""

from __future__ import annotations

import math
from pathlib import Path

import keras

from experiments.harness.model.variables import read, write
from experiments.harness.runtime.log import logger
from experiments.harness.spec import History, RunSpec, UserError, identity
from experiments.harness.storage import checkpoint
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.storage.fingerprint import link, tensor_digests
from experiments.harness.training.callbacks import EvaluationCallback


def restore_or_init(
    model: keras.Model,
    spec: RunSpec,
    folder: Path,
    evaluation: EvaluationCallback,
    until: float = math.inf,
) -> Checkpoint:
    """Load the newest checkpoint in ``folder`` into ``model``; if there is none, write the first.

    Checkpoints after more than ``until`` intervals are passed over. Raises ``UserError`` for a
    checkpoint of another run or another network.
    """
    run_id = identity.run_id(spec)
    found, damaged = checkpoint.load_newest(folder, until)
    for line in damaged:
        logger.warning(line)
    if found is None:
        if damaged:
            logger.warning("no valid checkpoint is left: starting over")
        return _initial(model, run_id, folder, evaluation)
    if found.run_id != run_id:
        raise UserError(f"{folder} belongs to another run; name another --logdir, or use --fresh")
    if set(found.tensors) != set(read(model)):
        raise UserError(f"{folder} was written by another version of the network; use --fresh")
    write(model, found.tensors)
    return found


def _initial(
    model: keras.Model, run_id: str, folder: Path, evaluation: EvaluationCallback
) -> Checkpoint:
    metrics, tensors = evaluation.initial_metrics(model), read(model)
    first = Checkpoint(
        run_id=run_id,
        interval=0,
        tensors=tensors,
        initial=metrics,
        history=History(),
        chain=(link("", tensors, metrics),),
        digests=(tensor_digests(tensors),),
        seconds=0.0,
        cpu_seconds=0.0,
    )
    checkpoint.save(first, folder)
    return first
