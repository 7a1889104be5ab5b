"""Planned runs, made several at a time, by a few worker processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from experiments.harness import datasets, determinism, interrupts, making, record
from experiments.harness.data import Dataset
from experiments.harness.making import Tell
from experiments.harness.spec import ProcessError, Run, UserError


def made(
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
    with _workers(jobs) as pool:

        def submitted(count: int) -> set[Future[tuple[Run, list[str]]]]:
            """No more than there are workers: what a pool holds ready is not to be cancelled."""
            return {
                pool.submit(
                    _made,
                    run,
                    logdir,
                    source,
                    {**options, "begin": record.directory_of(run, logdir) in first},
                )
                for run, source in islice(waiting, count)
            }

        futures = submitted(jobs)
        while futures:
            ended, futures = wait(futures, return_when=FIRST_COMPLETED)
            for future in ended:
                run, lines = future.result()
                done[record.directory_of(run, logdir)] = run
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


@contextmanager
def _workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Yield the pool; where the block fails, its workers are interrupted and waited for."""
    fresh = multiprocessing.get_context("spawn")  # a backend that has started cannot be forked
    pool = ProcessPoolExecutor(jobs, fresh, start_worker, (determinism.start(),))
    try:
        # The pool notices the death only of workers that were there at the result before.
        for begun in [pool.submit(os.getpid) for _ in range(jobs)]:
            begun.result()
        yield pool
    except BrokenProcessPool:  # it has ended the others itself
        raise ProcessError("a worker process died; run again to go on") from None
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker(environment: Mapping[str, Any]) -> None:
    """Start a worker as its runs' ``environment`` has it.

    It ends when the process that it works for has.
    """

    def follow() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    determinism.start(deterministic=environment.get("deterministic", True))


def check_worker(environment: Mapping[str, Any]) -> None:
    """Raise ``UserError`` where the started worker's environment is another than its runs'."""
    if determinism.start() != environment:
        raise UserError("a worker process has another environment than this one; use --jobs 1")


def _made(run: Run, logdir: Path, source: str, options: Mapping[str, Any]) -> tuple[Run, list[str]]:
    check_worker(run.environment)
    lines: list[str] = []
    with interrupts.heeded():
        dataset = _loaded(run.arm.dataset, source)
        return making.made(run, logdir, dataset, **options, tell=lines.append), lines


@cache
def _loaded(name: str, source: str) -> Dataset:
    return datasets.load(name, source)[0]
