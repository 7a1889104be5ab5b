"""Runs whose arms differ in initial values, seeds and rates alone, trained as one program.

Each has all that it would have alone. Import it only after ``determinism.start()``, on JAX.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness import data, grouping, interrupts, machine, state, tensors
from experiments.harness.data import Dataset
from experiments.harness.determinism import explained
from experiments.harness.observer import Observer
from experiments.harness.programs import AtOnce, InTurn, Program, State, put, taken
from experiments.harness.spec import Arm, Run
from experiments.harness.telemetry.callback import Telemetry
from experiments.harness.training import Keeper, begin, export, prepared, watchers

Tell = Callable[[str], None]
Tensors = dict[str, NDArray[Any]]
Rate = Callable[[int], float]


@dataclass
class Member:
    """A run, what keeps and watches it, and the values of its variables now."""

    run: Run
    directory: Path
    keeper: Keeper
    watchers: Sequence[keras.callbacks.Callback]
    values: State


@explained()
@interrupts.held()
def train(
    runs: Sequence[Run],
    directories: Sequence[Path],
    dataset: Dataset,
    *,
    intervals: int | None = None,
    enough: Callable[[state.State], bool] = lambda _: False,
    telemetry: int | None = None,
    verbose: int = 0,
    tell: Tell = print,
) -> list[Run]:
    """Train ``runs``, a group (``grouping.grouped``) or some of it, each in its directory.

    They go on after the last interval that all have. The rest is as for ``training.train``; at a
    state that is ``enough`` for one of them, all stop.
    """
    arm = runs[0].arm
    end = arm.intervals if intervals is None else min(intervals, arm.intervals)
    model, members = _begun(runs, directories, dataset, end, enough, telemetry, tell)
    done = members[0].keeper.state.interval
    try:
        if done < end and not _stopped(members):
            program = _program(model, dataset, arm, runs)
            for member in _in_turn(model, members):
                for watcher in member.watchers:
                    watcher.on_train_begin()
            for interval in range(done, end):
                seconds = _interval(interval, model, members, program, dataset)
                if verbose:
                    tell(f"interval {interval + 1} of {arm.intervals}: {seconds:.1f} s")
                if _stopped(members):
                    break
            for member in _in_turn(model, members):
                for watcher in member.watchers:
                    watcher.on_train_end()
        for member in _in_turn(model, members):
            export(model, member.directory)
    except KeyboardInterrupt:
        for member in members:
            member.keeper.write("interrupted")
        raise
    return [member.keeper.end() for member in members]


def _begun(
    runs: Sequence[Run],
    directories: Sequence[Path],
    dataset: Dataset,
    end: int,
    enough: Callable[[state.State], bool],
    telemetry: int | None,
    tell: Tell,
) -> tuple[keras.Model, list[Member]]:
    """Return the model that all runs are trained with, and each of them where it stands."""
    lines: list[str] = []
    until = _common([directory / "state" for directory in directories], lines.append)
    model, beginnings = _beginnings(runs)
    model._symbolic_build(data_batch=dataset.train(slice(1)))  # the metrics' variables, as fit does
    members: list[Member] = []
    twin = None
    for run, directory, (first, rate) in zip(runs, directories, beginnings, strict=True):
        tensors.write(model, first)
        observer = Observer(run, dataset, model)
        begun = begin(model, run, directory / "state", observer, lines.append, until)
        watching = watchers(run, directory, observer, rate, telemetry, twin)
        twin = next((w for w in watching if isinstance(w, Telemetry)), None)
        for watcher in watching:
            watcher.set_model(model)
            watcher.set_params({"epochs": end})
        keeper = Keeper(run, directory, begun, enough)
        members.append(Member(run, directory, keeper, watching, taken(model)))
    for line in dict.fromkeys(lines):
        tell(line)
    return model, members


def _beginnings(runs: Sequence[Run]) -> tuple[keras.Model, list[tuple[Tensors, Rate]]]:
    """Return the last run's model, and each run's values and rates before its first step."""
    beginnings = []
    for run in runs:
        model, rate = prepared(run)
        beginnings.append((tensors.read(model), rate))
    return model, beginnings


def _common(folders: Sequence[Path], tell: Tell) -> float:
    """Return the last interval whose state is sound in every folder, 0 where there is none."""
    until = math.inf
    while True:
        found = [state.newest(folder, until) for folder in folders]
        for line in (line for _, damaged in found for line in damaged):
            tell(line)
        places = {newest.interval if newest else 0 for newest, _ in found}
        if len(places) == 1:
            return places.pop()
        until = min(places)


def _program(model: keras.Model, dataset: Dataset, arm: Arm, runs: Sequence[Run]) -> Program:
    if runs[0].environment[grouping.FIELD] == grouping.IN_TURN:
        return InTurn(model, dataset, arm)
    places = [grouping.place(run) for run in runs]
    return AtOnce(model, dataset, arm, [place for place, _ in places], places[0][1])


def _stopped(members: Sequence[Member]) -> bool:
    return any(member.keeper.enough(member.keeper.state) for member in members)


def _in_turn(model: keras.Model, members: Sequence[Member]) -> Iterator[Member]:
    """Yield each member while the model has its values."""
    for member in members:
        put(model, member.values)
        yield member
        member.values = taken(model)  # callbacks may give it others, or use up the arrays


def _interval(
    interval: int,
    model: keras.Model,
    members: Sequence[Member],
    program: Program,
    dataset: Dataset,
) -> float:
    """Train and keep an interval; return the seconds of training."""
    clock = time.perf_counter()
    for member in _in_turn(model, members):
        model.reset_metrics()
        for watcher in member.watchers:
            watcher.on_epoch_begin(interval)
    indices = [_indices(member, interval, dataset) for member in members]
    trained = program.train([member.values for member in members], indices)
    logs = [_results(model, values) for values in trained]
    model.reset_metrics()
    *_, fresh = taken(model)
    tested = program.test([(*values[:-1], fresh) for values in trained])
    for member, values, told in zip(members, tested, logs, strict=True):
        told |= {f"val_{name}": value for name, value in _results(model, values).items()}
        member.values = values
    found = []
    for member, told in zip(_in_turn(model, members), logs, strict=True):
        for watcher in member.watchers:
            watcher.on_epoch_end(interval, told)
        found.append(tensors.read(model))
    seconds = time.perf_counter() - clock
    _kept(interval, members, found, logs, seconds / len(members))
    return seconds


def _indices(member: Member, interval: int, dataset: Dataset) -> NDArray[np.int64]:
    """Return the interval's examples, steps by batch; the keeper notes them."""
    run, rows = member.run, []
    for step in range(interval * run.arm.steps, (interval + 1) * run.arm.steps):
        rows.append(data.indices(dataset, run.seed, step, run.arm.batch_size, run.arm.held_out))
        member.keeper.fed(step, rows[-1])
    return np.stack(rows)


def _results(model: keras.Model, values: State) -> dict[str, float]:
    """Return the metrics that a member's values come to."""
    put(model, values)
    return {name: float(value) for name, value in model.get_metrics_result().items()}


def _kept(
    interval: int,
    members: Sequence[Member],
    found: Sequence[Tensors],
    logs: Sequence[Mapping[str, float]],
    seconds: float,
) -> None:
    """Keep the interval of every member, several at a time: most of it is hashing and writing."""

    def keep(member: Member, values: Tensors, told: Mapping[str, float]) -> None:
        member.keeper.keep(interval, values, told, seconds)

    with ThreadPoolExecutor(machine.processors()) as pool:
        for _ in pool.map(keep, members, found, logs):
            pass
