"""Studies carried out: their runs trained or loaded, then drawn and judged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from functools import cache
from itertools import chain, islice
from pathlib import Path

from experiments.harness.data import sources
from experiments.harness.data.dataset import Dataset
from experiments.harness.reporting import log_reader, tensorboard
from experiments.harness.reporting.result import Result
from experiments.harness.runtime import filesystem, log, signals
from experiments.harness.runtime.log import logger
from experiments.harness.runtime.worker_pool import check_worker, worker_pool
from experiments.harness.spec import Run, RunSpec, UserError
from experiments.harness.storage import run_directory
from experiments.harness.study import run_one
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
    on_study_start: Callable[[Study], None] = lambda _: None,
) -> Iterator[Result]:
    """Train or load every run of the studies; yield each study's result.

    ``fresh`` first deletes the runs' own files. With ``jobs`` above 1, all runs are trained first,
    ``jobs`` at a time, in worker processes. A study is skipped if there was no time for any of its
    runs. Raises ``UserError`` for errors that the user can fix.
    """
    if options.stop_after is not None and options.stop_after < 1:
        raise UserError(f"stop_after must be 1 or more, not {options.stop_after}")
    if jobs < 1:
        raise UserError(f"jobs must be 1 or more, not {jobs}")
    if options.telemetry_every is not None and options.telemetry_every < 0:
        raise UserError(f"telemetry_every must be 0 or more, not {options.telemetry_every}")
    if jobs > 1 and any(study.batches for study in studies):
        raise UserError("runs are trained in batches or in several processes, not both")
    if options.callbacks and (jobs > 1 or any(study.batches for study in studies)):
        raise UserError("callbacks need runs trained one by one: without jobs and batch_runs")
    for spec in chain.from_iterable(map(_training_order, studies)) if fresh else ():
        directory = run_directory.directory_of(spec, logdir)
        with filesystem.lock_directory(directory):
            run_directory.clear(spec, directory)
    gate = StartGate(studies, logdir, options)
    finished = _train_in_pool(studies, logdir, options, gate, jobs) if jobs > 1 else {}
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


def _train_in_pool(
    studies: Sequence[Study], logdir: Path, options: TrainOptions, gate: StartGate, jobs: int
) -> dict[Path, Run]:
    """Train the studies' runs, ``jobs`` at a time; return them by directory.

    Raises ``ProcessError`` if a worker dies; the runs under way are left as after an interrupt.
    """
    sourced = {
        run_directory.directory_of(spec, logdir): (spec, study.sources[spec.arm.dataset])
        for study in studies
        for spec in study.specs
    }
    for warning in {warning: None for study in studies for warning in study.warnings}:
        logger.warning(warning)
    logger.info(f"{len(sourced)} runs, {jobs} at a time")
    started, trained = time.monotonic(), dict[Path, Run]()
    waiting = ((path, *each) for path, each in sourced.items() if gate.may_start(each[0]))
    with worker_pool(jobs) as pool:

        def submit(count: int) -> dict[Future[Run], Path]:
            """Submit as many runs as there are idle workers: waiting ones cannot be cancelled."""
            options_there = replace(options, verbose=0)
            return {
                pool.submit(_train_in_worker, spec, logdir, source, options_there): path
                for path, spec, source in islice(waiting, count)
            }

        futures = submit(jobs)
        while futures:
            ended, _ = wait(futures, return_when=FIRST_COMPLETED)
            for future in ended:
                run = trained[futures.pop(future)] = future.result()
                left = (time.monotonic() - started) / len(trained) * (len(sourced) - len(trained))
                facts = f"{run.status}, {run.intervals} intervals, {run.seconds:.0f} s"
                ahead = f"; about {left / 60:.0f} min left" * (len(trained) < len(sourced))
                name = f"{run.spec.arm_id}, seed {run.spec.seed}"
                logger.info(f"[{len(trained)}/{len(sourced)}] {name}: {facts}{ahead}")
            futures |= submit(len(ended))
    return trained


def _train_in_worker(spec: RunSpec, logdir: Path, source: str, options: TrainOptions) -> Run:
    check_worker(spec.environment)
    with signals.handle_signals(), log.prefixed(f"{spec.arm_id}, seed {spec.seed}: "):
        dataset = _load_dataset(spec.arm.dataset, source)
        return run_one.train_or_load(spec, logdir, dataset, options)


@cache
def _load_dataset(name: str, source: str) -> Dataset:
    return sources.load(name, source)[0]


def _result(study: Study, runs: Sequence[Run], logdir: Path) -> Result:
    """Draw and judge the study's runs."""
    complete = len(runs) == len(study.specs) and all(run.status == "complete" for run in runs)
    whole = study.covers_everything and complete
    name = log_reader.WHOLE_PICTURE if whole else log_reader.PART_PICTURE
    picture = study_directory(study, logdir) / name
    return log_reader.draw_and_judge(study.experiment, runs, logdir, picture)
