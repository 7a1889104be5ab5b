"""Workers on this machine, each in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

from experiments.harness.data import sources
from experiments.harness.runtime import cli, log, signals, worker_pool
from experiments.tuning.search import Search, SearchLocation

SHUTDOWN_GRACE = 30.0  # seconds from termination until a worker is killed


@contextmanager
def start(
    search: Search, location: SearchLocation, jobs: int, timeout: float, address: str
) -> Iterator[Sequence[BaseProcess]]:
    """Yield ``jobs`` worker processes for the chief at ``address``; they end with the block.

    They give up if the chief cannot be reached for ``timeout`` seconds. A worker ends when this
    process dies.
    """
    worker_pool.exit_if_importing_main()
    context = multiprocessing.get_context("spawn")  # a started backend cannot be forked
    started = []
    try:
        for name in [f"local{k}" for k in range(jobs)]:
            process = context.Process(
                target=_run, name=name, args=(search, location, address, name, timeout)
            )
            process.start()
            started.append(process)
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.join(SHUTDOWN_GRACE)
            process.kill()
            process.join()


def _run(search: Search, location: SearchLocation, address: str, name: str, timeout: float) -> None:
    template = search.trainer.template

    def train() -> int:
        worker_pool.start_worker(template.environment)
        worker_pool.check_worker(template.environment)
        from experiments.tuning.distributed.worker import run_worker  # imports a backend

        dataset, _ = sources.load(template.arm.dataset, location.source)
        with log.quiet():  # the chief logs each trial
            run_worker(search, location, dataset, address, timeout, name)
        return cli.DONE

    signals.exit_process(cli.run_command("tune", train))
