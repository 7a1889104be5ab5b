"""A few worker processes, each with a backend started like this process's."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from multiprocessing.queues import Queue
from typing import Any

from experiments.harness.runtime import cpu, determinism
from experiments.harness.runtime.log import logger
from experiments.harness.runtime.subprocesses import exit_with_parent
from experiments.harness.spec import ProcessError, UserError

NO_MAIN_GUARD = 87  # exit code of a worker
NEEDS_MAIN_GUARD = (
    "worker processes import the script that starts them: put what it does under "
    'if __name__ == "__main__":'
)


@contextmanager
def worker_pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of ``jobs`` processes, whose messages this process logs.

    If the block fails, the workers are interrupted and waited for. Raises ``ProcessError`` if a
    worker dies, ``UserError`` if it imports a script without a main guard.
    """
    exit_if_importing_main()
    context = multiprocessing.get_context("spawn")  # a started backend cannot be forked
    messages = context.Queue()
    listener = QueueListener(messages, Relay())
    environment = determinism.environment()
    pool = ProcessPoolExecutor(jobs, context, start_worker, (environment, messages))
    listener.start()
    try:
        # The pool notices the death only of workers that existed at the last result.
        checks = [pool.submit(check_worker, environment) for _ in range(jobs)]
        workers = multiprocessing.active_children()
        for ready in checks:
            ready.result()
        yield pool
    except BrokenProcessPool:  # the pool ends the other workers itself
        pool.shutdown()  # until then exit codes may be missing
        if any(worker.exitcode == NO_MAIN_GUARD for worker in workers):
            raise UserError(NEEDS_MAIN_GUARD) from None
        raise ProcessError("a worker process died; run again to resume") from None
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        listener.stop()
        messages.close()
        messages.join_thread()  # else an interrupted process leaks its semaphores


def exit_if_importing_main() -> None:
    """End this process if it is a worker that imports a script without a main guard.

    ``worker_pool`` in the script's own process then says what is missing.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(NO_MAIN_GUARD)


class Relay(logging.Handler):
    """Log a worker's message in this process, unless its level is disabled here."""

    def emit(self, record: logging.LogRecord) -> None:
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


def start_worker(environment: Mapping[str, Any], messages: Queue[Any] | None = None) -> None:
    """Start the backend as in ``environment``; the worker ends when its parent process does."""
    if parent := multiprocessing.parent_process():
        exit_with_parent(parent.sentinel)
    if messages:
        logger.addHandler(QueueHandler(messages))
        logger.setLevel(logging.INFO)
    determinism.start(
        deterministic=environment.get("deterministic", True),
        portable=cpu.is_portable(environment),
    )


def check_worker(environment: Mapping[str, Any]) -> None:
    """Raise ``UserError`` if the environment of this worker differs from ``environment``."""
    if determinism.environment() != environment:
        raise UserError("a worker process has another environment than this one; use --jobs 1")
