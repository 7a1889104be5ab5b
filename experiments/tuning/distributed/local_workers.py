"""Workers of this machine, each in a process that imports no backend before it may."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

from experiments.harness.data import sources
from experiments.harness.runtime import cli, signals, worker_pool
from experiments.tuning.search import Search, SearchLocation

GRACE = 30.0  # seconds that a worker has to end in, once it is told to


@contextmanager
def workers(
    search: Search, place: SearchLocation, jobs: int, limit: float, address: str
) -> Iterator[Sequence[BaseProcess]]:
    """Yield so many workers for the chief at ``address``; they end with the block.

    They wait ``limit`` seconds for the chief. One that is left when this process dies ends, too.
    """
    fresh = multiprocessing.get_context("spawn")  # a backend that has started cannot be forked
    names = [f"local{k}" for k in range(jobs)]
    processes = [
        fresh.Process(target=_worker, name=name, args=(search, place, address, name, limit))
        for name in names
    ]
    begun = []
    try:
        for process in processes:
            process.start()
            begun.append(process)
        yield begun
    finally:
        for process in begun:
            process.terminate()
        for process in begun:
            process.join(GRACE)
            process.kill()
            process.join()


def _worker(search: Search, place: SearchLocation, address: str, name: str, limit: float) -> None:
    template = search.trainer.template

    def run() -> int:
        worker_pool.start_worker(template.environment)
        worker_pool.check_worker(template.environment)
        from experiments.tuning.distributed.worker import serve_chief  # imports a backend

        dataset, _ = sources.load(template.arm.dataset, place.source)
        serve_chief(search, place, dataset, address, limit, name)
        return cli.DONE

    signals.exit_process(cli.run_command("tune", run))
