"""Runs that share a program, trained as one batch. Import it only after ``determinism.start()``.

Each run leaves all that it would leave if trained alone. JAX only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import keras

from experiments.harness.data.dataset import Dataset
from experiments.harness.model import variables
from experiments.harness.model.build import LearningRate, build_for_run, export
from experiments.harness.runtime import signals
from experiments.harness.runtime.backends import refuse_keras_limits, translate_backend_errors
from experiments.harness.runtime.log import logger
from experiments.harness.spec import Run
from experiments.harness.storage import checkpoint
from experiments.harness.telemetry.callback import Telemetry
from experiments.harness.training.batched.batch import BatchMember, RunBatch, Tensors
from experiments.harness.training.batched.jax_programs import get_state
from experiments.harness.training.callbacks import (
    CheckpointCallback,
    EvaluationCallback,
    make_callbacks,
)
from experiments.harness.training.options import TrainOptions
from experiments.harness.training.resume import restore_or_init

Initial = tuple[Tensors, LearningRate]  # values before the first step; learning rates


@translate_backend_errors()
@signals.defer_signals()
def train(
    runs: Sequence[Run],
    directories: Sequence[Path],
    dataset: Dataset,
    options: TrainOptions = TrainOptions(),  # noqa: B008 (frozen)
) -> list[Run]:
    """Train ``runs``, all or some of a batch (``batching.group_runs``), each in its directory.

    They resume after the last interval that all of them have; a run that is further repeats the
    rest, to the same bits. All stop if one of them is to stop. Otherwise as ``trainer.train``.
    """
    refuse_keras_limits()
    arm = runs[0].spec.arm
    end = options.last_interval(arm.intervals)
    batch = _resumed(runs, directories, dataset, end, options)
    if batch.done:
        logger.info(f"resuming after interval {batch.done} of {arm.intervals}")
    try:
        if batch.done < end and not batch.should_stop:
            program = batch.program()
            batch.call("on_train_begin")
            while batch.done < end and not batch.should_stop:
                seconds = batch.train_interval(program)
                if options.verbose:
                    logger.info(f"interval {batch.done} of {arm.intervals}: {seconds:.1f} s")
                if time.monotonic() >= options.deadline:
                    break
            batch.call("on_train_end")
        for member in batch.swap_in():
            export(batch.model, member.saving.checkpoint.tensors, member.directory)
    except KeyboardInterrupt:
        for member in batch.members:
            member.saving.write_record("interrupted")
        raise
    return [member.saving.finish() for member in batch.members]


def _resumed(
    runs: Sequence[Run],
    directories: Sequence[Path],
    dataset: Dataset,
    end: int,
    options: TrainOptions,
) -> RunBatch:
    """Return the runs as they stand, with one model for all of them."""
    until = _last_common_interval([directory / "state" for directory in directories])
    model, initial = _build(runs, dataset)
    model._symbolic_build(data_batch=dataset.train(slice(1)))  # creates the metrics' variables
    members: list[BatchMember] = []
    telemetry: Telemetry | None = None
    for run, directory, (values, rate) in zip(runs, directories, initial, strict=True):
        signals.raise_if_interrupted()
        variables.write(model, values)
        evaluation = EvaluationCallback(run.spec, dataset, model)
        first = restore_or_init(model, run.spec, directory / "state", evaluation, until)
        callbacks = make_callbacks(run.spec, directory, evaluation, rate, options, telemetry)
        for callback in callbacks:
            callback.set_model(model)
            callback.set_params({"epochs": end})
            telemetry = callback if isinstance(callback, Telemetry) else telemetry
        saving = CheckpointCallback(run, directory, first, options)
        members.append(BatchMember(run.spec, directory, saving, callbacks, get_state(model)))
    return RunBatch(model, members, dataset)


def _build(runs: Sequence[Run], dataset: Dataset) -> tuple[keras.Model, list[Initial]]:
    """Return the last run's model, and each run's initial values and learning rates."""
    initial: list[Initial] = []
    for run in runs:
        signals.raise_if_interrupted()
        model, rate = build_for_run(run.spec, dataset)
        initial.append((variables.read(model), rate))
    return model, initial


def _last_common_interval(folders: Sequence[Path]) -> float:
    """Return the last interval with a valid checkpoint in every folder, 0 if there is none."""
    until, reported = math.inf, set[str]()
    while True:
        found = [checkpoint.load_newest(folder, until) for folder in folders]
        for line in {line for _, damaged in found for line in damaged} - reported:
            logger.warning(line)
            reported.add(line)
        places = {newest.interval if newest else 0 for newest, _ in found}
        if len(places) == 1:
            return places.pop()
        until = min(places)
