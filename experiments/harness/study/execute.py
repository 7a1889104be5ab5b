"""Studies carried out: runs trained or loaded, then drawn and judged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from experiments.harness.data import sources
from experiments.harness.data.dataset import Dataset
from experiments.harness.reporting import plots
from experiments.harness.reporting.result import Result
from experiments.harness.runtime import filesystem, signals
from experiments.harness.runtime.worker_pool import check_worker, worker_pool
from experiments.harness.spec import Run, UserError
from experiments.harness.spec.judge import judge
from experiments.harness.storage import run_directory
from experiments.harness.study import execute, run_one
from experiments.harness.study.plan import Study
from experiments.harness.study.run_one import Tell


def train_in_pool(
    runs: Sequence[tuple[Run, str]],
    logdir: Path,
    jobs: int,
    first: Container[Path] = (),
    *,
    tell: Tell = print,
    **options: Any,
) -> dict[Path, Run]:
    """Make runs, each told with the source of its data, ``jobs`` at a time; by their directories.

    ``options`` are those of ``making.made``; runs in the directories ``first`` are begun at any
    time. Tells a line a run. Raises what making a run raises, and ``ProcessError`` where a worker
    dies; the runs under way are left as an interrupt leaves them, no other is begun.
    """
    begun, done = time.monotonic(), dict[Path, Run]()
    waiting = iter(runs)
    with worker_pool(jobs) as pool:

        def submitted(count: int) -> set[Future[tuple[Run, list[str]]]]:
            """No more than there are workers: what a pool holds ready is not to be cancelled."""
            return {
                pool.submit(
                    _train_in_worker,
                    run,
                    logdir,
                    source,
                    {**options, "begin": run_directory.directory_of(run, logdir) in first},
                )
                for run, source in islice(waiting, count)
            }

        futures = submitted(jobs)
        while futures:
            ended, futures = wait(futures, return_when=FIRST_COMPLETED)
            for future in ended:
                run, lines = future.result()
                done[run_directory.directory_of(run, logdir)] = run
                if not run.chain:  # the time was over
                    continue
                left = (time.monotonic() - begun) / len(done) * (len(runs) - len(done))
                facts = f"{run.status}, {run.intervals} intervals, {run.seconds:.0f} s"
                ahead = f"; about {left / 60:.0f} min left" if len(done) < len(runs) else ""
                tell(f"[{len(done)}/{len(runs)}] {run.home}, seed {run.seed}: {facts}{ahead}")
                for line in lines:
                    tell(f"  {line}")
            futures |= submitted(len(ended))
    return done


def _train_in_worker(
    run: Run, logdir: Path, source: str, options: Mapping[str, Any]
) -> tuple[Run, list[str]]:
    check_worker(run.environment)
    lines: list[str] = []
    with signals.handle_signals():
        dataset = _load_dataset(run.arm.dataset, source)
        return run_one.train_or_load(run, logdir, dataset, **options, tell=lines.append), lines


@cache
def _load_dataset(name: str, source: str) -> Dataset:
    return sources.load(name, source)[0]


PICTURES = {True: "curves.png", False: "curves-part.png"}  # of the whole study, or of a part


def run_studies(
    studies: Sequence[Study],
    logdir: Path,
    *,
    intervals: int | None = None,
    deadline: float = math.inf,
    fresh: bool = False,
    jobs: int = 1,
    telemetry: int | None = None,
    verbose: int = 0,
    tell: Tell = print,
    begin: Callable[[Study], None] = lambda _: None,
) -> Iterator[Result]:
    """Make every run of the studies, or find it made; yield what each study came to.

    ``fresh`` first deletes what former runs left in their directories. With ``jobs`` above 1 the
    runs are made before, so many at a time. From ``deadline`` on no run is begun but the first that
    is not made, and a study without runs is passed over. ``begin`` gets each study as its turn
    comes; the rest is as for ``training.train``. Raises ``UserError`` for whatever the user can
    mend.
    """
    from experiments.harness.reporting import tensorboard

    if intervals is not None and intervals < 1:
        raise UserError(f"intervals must be 1 or more, not {intervals}")
    if jobs > 1 and any(study.groups for study in studies):
        raise UserError("runs are made together, or by several jobs, not both")
    options: dict[str, Any] = {"intervals": intervals, "deadline": deadline, "tell": tell}
    options["telemetry"] = telemetry
    sourced = {
        run_directory.directory_of(run, logdir): (run, study.sources[run.arm.dataset])
        for study in studies
        for run in (*chain.from_iterable(study.groups), *study.runs)  # in the order of making
    }
    for directory, (run, _) in sourced.items() if fresh else ():
        with filesystem.lock_directory(directory):
            run_directory.clear(run, directory)
    runs = [run for run, _ in sourced.values()]
    first = {*(run_one.incomplete_runs(runs, logdir, intervals)[:1] if deadline < math.inf else ())}
    finished: dict[Path, Run] = {}
    if jobs > 1:
        for warning in {warning: None for study in studies for warning in study.warnings}:
            tell(warning)
        tell(f"{len(sourced)} runs, {jobs} at a time")
        finished = execute.train_in_pool([*sourced.values()], logdir, jobs, first, **options)
    for study in studies:
        begin(study)
        tensorboard.write(study.experiment, study.runs, study_directory(study, logdir))
        finished |= _train_batches(study, logdir, first, verbose=verbose, **options)
        if begun := _train_or_load_runs(study, logdir, finished, first, verbose=verbose, **options):
            result = _result(study, begun, logdir)
            tensorboard.write(study.experiment, begun, study_directory(study, logdir), result)
            yield result


def _train_batches(study: Study, logdir: Path, first: set[Path], **options: Any) -> dict[Path, Run]:
    """Make the runs of the study's groups, each group together; return them by directories.

    A group with one in ``first`` is gone on with at any time.
    """
    made: dict[Path, Run] = {}
    for group in study.groups:
        directories = {run_directory.directory_of(run, logdir) for run in group}
        begin = bool(directories & first)
        first -= directories
        dataset = study.data[group[0].arm.dataset]
        made |= run_one.train_or_load_batch(group, logdir, dataset, begin=begin, **options)
    return made


def _train_or_load_runs(
    study: Study, logdir: Path, finished: Mapping[Path, Run], first: set[Path], **options: Any
) -> list[Run]:
    """Return the study's runs, but for those for which there was no time; make what is not made.

    ``finished`` are those made before, by their directories. What is in ``first`` is gone on with
    at any time, and then no longer: another study may have it, too.
    """
    runs = []
    for number, run in enumerate(study.runs, 1):
        directory = run_directory.directory_of(run, logdir)
        begin = directory in first or time.monotonic() < options["deadline"]
        first.discard(directory)
        found = finished.get(directory)
        if begin and not found:
            head = f"[{number}/{len(study.runs)}] {study.experiment.named(run)}, seed {run.seed}"
            options["tell"](f"\n{head}: {run.arm.about}")
        if found:
            runs.append(replace(found, arm=run.arm))
        else:
            dataset = study.data[run.arm.dataset]
            runs.append(run_one.train_or_load(run, logdir, dataset, begin=begin, **options))
    return [run for run in runs if run.chain]


def study_directory(study: Study, logdir: Path) -> Path:
    """Return where the study's picture is, and its own runs are."""
    return logdir / study.experiment.name / study.runs[0].scale


def _result(study: Study, runs: Sequence[Run], logdir: Path) -> Result:
    """Draw and judge the study's runs, or those of them that there are."""
    complete = [run for run in runs if run.status == "complete"]
    name = PICTURES[study.whole and len(complete) == len(study.runs)]
    picture = study_directory(study, logdir) / name
    plots.draw(study.experiment, runs, picture)
    return Result(study.experiment, runs, judge(study.experiment, runs), logdir, picture)
