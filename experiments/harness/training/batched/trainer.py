"""Runs whose arms differ in initial values, seeds and rates alone, trained as one program.

Each leaves all that it would leave alone. Import it only after ``determinism.start()``, on JAX.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from experiments.harness.data.dataset import Dataset
from experiments.harness.model import variables
from experiments.harness.model.build import build_for_run, export
from experiments.harness.runtime import signals
from experiments.harness.runtime.backends import translate_backend_errors
from experiments.harness.spec import Run
from experiments.harness.storage import checkpoint
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.telemetry.callback import Telemetry
from experiments.harness.training.batched.batch import BatchMember, RunBatch, Tensors
from experiments.harness.training.batched.jax_programs import get_state
from experiments.harness.training.callbacks import (
    CheckpointCallback,
    EvaluationCallback,
    make_callbacks,
)
from experiments.harness.training.resume import restore_or_init

Tell = Callable[[str], None]
Beginning = tuple[Tensors, Callable[[int], float]]  # values before the first step; the rates


@translate_backend_errors()
@signals.defer_signals()
def train(
    runs: Sequence[Run],
    directories: Sequence[Path],
    dataset: Dataset,
    *,
    intervals: int | None = None,
    enough: Callable[[Checkpoint], bool] = lambda _: False,
    deadline: float = math.inf,
    telemetry: int | None = None,
    verbose: int = 0,
    tell: Tell = print,
) -> list[Run]:
    """Train ``runs``, a group (``grouping.grouped``) or some of it, each in its directory.

    They go on after the last interval that all have; where one has more, it is trained to the same
    bits once more. The rest is as for ``training.train``; where the state of one of them is
    ``enough``, all stop.
    """
    arm = runs[0].arm
    end = arm.intervals if intervals is None else min(intervals, arm.intervals)
    lines: dict[str, None] = {}
    group = _begun(runs, directories, dataset, end, enough, telemetry, lines.setdefault)
    for line in lines:
        tell(line)
    try:
        if group.done < end and not group.enough:
            program = group.program()
            group.watched("on_train_begin")
            while group.done < end and not group.enough:
                seconds = group.train(program)
                if verbose:
                    tell(f"interval {group.done} of {arm.intervals}: {seconds:.1f} s")
                if time.monotonic() >= deadline:
                    break
            group.watched("on_train_end")
        for member in group.lent():
            export(group.model, member.directory)
    except KeyboardInterrupt:
        for member in group.members:
            member.keeper.write("interrupted")
        raise
    return [member.keeper.end() for member in group.members]


def _begun(
    runs: Sequence[Run],
    directories: Sequence[Path],
    dataset: Dataset,
    end: int,
    enough: Callable[[Checkpoint], bool],
    telemetry: int | None,
    tell: Tell,
) -> RunBatch:
    """Return the runs where they stand, with one model for all."""
    until = _common([directory / "state" for directory in directories], tell)
    model, beginnings = _beginnings(runs)
    model._symbolic_build(data_batch=dataset.train(slice(1)))  # makes the metrics' variables
    members: list[BatchMember] = []
    twin: Telemetry | None = None
    for run, directory, (first, rate) in zip(runs, directories, beginnings, strict=True):
        signals.raise_if_interrupted()
        variables.write(model, first)
        observer = EvaluationCallback(run, dataset, model)
        begun = restore_or_init(model, run, directory / "state", observer, tell, until)
        watching = make_callbacks(run, directory, observer, rate, telemetry, twin)
        for watcher in watching:
            watcher.set_model(model)
            watcher.set_params({"epochs": end})
            twin = watcher if isinstance(watcher, Telemetry) else twin
        keeper = CheckpointCallback(run, directory, begun, enough)
        members.append(BatchMember(run, directory, keeper, watching, get_state(model)))
    return RunBatch(model, members, dataset)


def _beginnings(runs: Sequence[Run]) -> tuple[keras.Model, list[Beginning]]:
    """Return the last run's model, and how each of them begins."""
    beginnings: list[Beginning] = []
    for run in runs:
        signals.raise_if_interrupted()
        model, rate = build_for_run(run)
        beginnings.append((variables.read(model), rate))
    return model, beginnings


def _common(folders: Sequence[Path], tell: Tell) -> float:
    """Return the last interval whose state is sound in every folder, 0 where there is none."""
    until = math.inf
    while True:
        found = [checkpoint.load_newest(folder, until) for folder in folders]
        for line in (line for _, damaged in found for line in damaged):
            tell(line)
        places = {newest.interval if newest else 0 for newest, _ in found}
        if len(places) == 1:
            return places.pop()
        until = min(places)
