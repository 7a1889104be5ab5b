"""Studies carried out: their runs trained or loaded, then drawn and judged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

from experiments.harness.execution.executors import choose
from experiments.harness.execution.task import Executor, Task
from experiments.harness.reporting import log_reader, tensorboard
from experiments.harness.reporting.result import Result
from experiments.harness.runtime import filesystem
from experiments.harness.runtime.log import logger
from experiments.harness.spec import Run, RunSpec, UserError
from experiments.harness.storage import run_directory
from experiments.harness.study import run_one, train_task
from experiments.harness.study.plan import Study
from experiments.harness.training.options import TrainOptions


class StartGate:
    """Decides whether a run may start.

    Before the deadline any may. After it only the first unfinished run may, once, so that every
    call makes progress however short its time.
    """

    def __init__(self, studies: Sequence[Study], logdir: Path, options: TrainOptions) -> None:
        self.logdir, self.deadline = logdir, options.deadline
        specs = (
            chain.from_iterable(map(_training_order, studies)) if self.deadline < math.inf else ()
        )
        unfinished = run_one.incomplete_runs(specs, logdir, options.stop_after)
        self.first = {run_directory.directory_of(spec, logdir) for spec in unfinished[:1]}

    def may_start(self, *specs: RunSpec) -> bool:
        """Return whether these runs, which train together, may start now."""
        directories = {run_directory.directory_of(spec, self.logdir) for spec in specs}
        is_first = bool(self.first & directories)
        self.first -= directories
        return is_first or time.monotonic() < self.deadline


def run_studies(
    studies: Sequence[Study],
    logdir: Path,
    options: TrainOptions = TrainOptions(),  # noqa: B008 (frozen)
    *,
    fresh: bool = False,
    jobs: int = 1,
    cluster: str | None = None,
    on_study_start: Callable[[Study], None] = lambda _: None,
) -> Iterator[Result]:
    """Train or load every run of the studies; yield each study's result.

    ``fresh`` first deletes the runs' own files. With ``jobs`` above 1, all runs are trained first,
    ``jobs`` at a time, in processes of their own; with a ``cluster``, the address of a Ray cluster,
    as many on each of its nodes. A study is skipped if there was no time for any of its runs.
    Raises ``UserError`` for errors that the user can fix.
    """
    if options.stop_after is not None and options.stop_after < 1:
        raise UserError(f"stop_after must be 1 or more, not {options.stop_after}")
    if jobs < 1:
        raise UserError(f"jobs must be 1 or more, not {jobs}")
    if options.telemetry_every is not None and options.telemetry_every < 0:
        raise UserError(f"telemetry_every must be 0 or more, not {options.telemetry_every}")
    in_processes = jobs > 1 or cluster is not None
    in_batches = any(study.batches for study in studies)
    if in_processes and in_batches:
        raise UserError("runs are trained in batches or in several processes, not both")
    if options.callbacks and (in_processes or in_batches):
        raise UserError("callbacks need runs trained one by one: without jobs and batch_runs")
    for spec in chain.from_iterable(map(_training_order, studies)) if fresh else ():
        directory = run_directory.directory_of(spec, logdir)
        with filesystem.lock_directory(directory):
            run_directory.clear(spec, directory)
    gate = StartGate(studies, logdir, options)
    executor = choose(jobs, cluster) if in_processes else None
    finished = _train_with(executor, studies, logdir, options, gate) if executor else {}
    for study in studies:
        on_study_start(study)
        folder = study_directory(study, logdir)
        tensorboard.write(study.experiment, study.specs, folder)
        finished |= _train_batches(study, logdir, options, gate)
        if runs := _train_or_load(study, logdir, options, gate, finished):
            result = _result(study, runs, logdir)
            tensorboard.write(study.experiment, [run.spec for run in runs], folder, result)
            yield result


def study_directory(study: Study, logdir: Path) -> Path:
    """Return the folder of the study's picture and of its own runs."""
    return logdir / study.experiment.name / study.specs[0].scale


def _training_order(study: Study) -> list[RunSpec]:
    return [*chain.from_iterable(study.batches), *study.specs]


def _train_or_load(
    study: Study,
    logdir: Path,
    options: TrainOptions,
    gate: StartGate,
    finished: Mapping[Path, Run],
) -> list[Run]:
    """Return the study's runs, without those that there was no time to start.

    ``finished`` are the runs trained before, by directory.
    """
    runs: list[Run | None] = []
    for number, spec in enumerate(study.specs, 1):
        if found := finished.get(run_directory.directory_of(spec, logdir)):
            runs.append(replace(found, spec=spec))
        elif gate.may_start(spec):
            name = study.experiment.name_of(spec)
            logger.info(
                f"\n[{number}/{len(study.specs)}] {name}, seed {spec.seed}: {spec.arm.about}"
            )
            dataset = study.data[spec.arm.dataset]
            runs.append(run_one.train_or_load(spec, logdir, dataset, options))
        else:
            runs.append(run_one.load_existing(spec, logdir))
    return [run for run in runs if run and run.chain]


def _train_batches(
    study: Study, logdir: Path, options: TrainOptions, gate: StartGate
) -> dict[Path, Run]:
    """Train the study's batches; return their runs by directory."""
    trained: dict[Path, Run] = {}
    for batch in study.batches:
        dataset = study.data[batch[0].arm.dataset]
        for group in run_one.group_by_progress(batch, logdir):
            if gate.may_start(*group):
                runs = run_one.train_or_load_batch(group, logdir, dataset, options)
            else:
                found = [run_one.load_existing(spec, logdir) for spec in group]
                runs = [run or Run(spec) for spec, run in zip(group, found, strict=True)]
            trained |= {run_directory.directory_of(run.spec, logdir): run for run in runs}
    return trained


def _train_with(
    executor: Executor,
    studies: Sequence[Study],
    logdir: Path,
    options: TrainOptions,
    gate: StartGate,
) -> dict[Path, Run]:
    """Train the studies' unfinished runs as tasks of the executor; return them by directory."""
    sourced = {
        run_directory.directory_of(spec, logdir): (spec, study.sources[spec.arm.dataset])
        for study in studies
        for spec in run_one.incomplete_runs(study.specs, logdir, options.stop_after)
    }
    for warning in {warning: None for study in studies for warning in study.warnings}:
        logger.warning(warning)
    logger.info(f"{len(sourced)} runs, {executor}")
    started, trained = time.monotonic(), dict[Path, Run]()

    def tasks() -> Iterator[Task]:
        for spec, source in sourced.values():
            if gate.may_start(spec):
                yield train_task.task([spec], logdir, source, options)

    with closing(executor.run(tasks())) as answers:
        for answer in answers:
            answer.result()
            (path,) = answer.task.directories
            spec, _ = sourced[path]
            run = trained[path] = run_one.load_existing(spec, logdir) or Run(spec)
            left = (time.monotonic() - started) / len(trained) * (len(sourced) - len(trained))
            facts = f"{run.status}, {run.intervals} intervals, {run.seconds:.0f} s"
            facts += f", {answer.note}" if answer.note else ""
            ahead = f"; about {left / 60:.0f} min left" * (len(trained) < len(sourced))
            logger.info(f"[{len(trained)}/{len(sourced)}] {answer.task.name}: {facts}{ahead}")
    return trained


def _result(study: Study, runs: Sequence[Run], logdir: Path) -> Result:
    """Draw and judge the study's runs."""
    complete = len(runs) == len(study.specs) and all(run.status == "complete" for run in runs)
    whole = study.covers_everything and complete
    name = log_reader.WHOLE_PICTURE if whole else log_reader.PART_PICTURE
    picture = study_directory(study, logdir) / name
    return log_reader.draw_and_judge(study.experiment, runs, logdir, picture)
