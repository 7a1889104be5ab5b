"""Where a training starts: from its newest checkpoint, or from its initial values."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import keras

from experiments.harness.model.variables import read, write
from experiments.harness.spec import Run, UserError, identity
from experiments.harness.storage import checkpoint
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.storage.fingerprint import link, tensor_digests
from experiments.harness.training.callbacks import EvaluationCallback


def restore_or_init(
    model: keras.Model,
    run: Run,
    folder: Path,
    observer: EvaluationCallback,
    tell: Callable[[str], None],
    until: float = math.inf,
) -> Checkpoint:
    """Put the newest state in ``folder`` into ``model``; where there is none, keep the first.

    States after more than ``until`` intervals are passed over.
    """
    owner = identity.run_id(run)
    found, warnings = checkpoint.load_newest(folder, until)
    for warning in warnings:
        tell(warning)
    if found is None:
        if warnings:
            tell("no sound state is left: starting over")
        initial, tensors = observer.before(model), read(model)
        chain, digests = (link("", tensors, initial),), (tensor_digests(tensors),)
        begun = Checkpoint(owner, 0, tensors, initial, (), chain, digests, 0.0)
        checkpoint.save(begun, folder)
        return begun
    if found.owner != owner:
        raise UserError(f"{folder} belongs to another run; name another --logdir, or use --fresh")
    if set(found.tensors) != set(read(model)):
        raise UserError(f"{folder} was left by another version of the network; use --fresh")
    tell(f"going on after interval {found.interval} of {run.arm.intervals}")
    write(model, found.tensors)
    return found
