"""Planned runs, made several at a time, by a few worker processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from experiments.harness.runtime import determinism
from experiments.harness.spec import ProcessError, UserError


@contextmanager
def worker_pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
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
