"""Workers of this machine, each in a process that imports no backend before it may."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

from experiments.harness import datasets, determinism, doors, interrupts, making
from experiments.harness.spec import UserError
from experiments.search.plan import Place, Search


def workers(
    searched: Search, place: Place, jobs: int, limit: float, address: str
) -> Sequence[BaseProcess]:
    """Start workers for the chief at ``address``; each ends when this process has."""
    fresh = multiprocessing.get_context("spawn")  # a backend that has started cannot be forked
    processes = [
        fresh.Process(
            target=_worker, name=f"local{k}", args=(searched, place, address, f"local{k}", limit)
        )
        for k in range(jobs)
    ]
    for process in processes:
        process.start()
    return processes


def _worker(searched: Search, place: Place, address: str, name: str, limit: float) -> None:
    template = searched.trainer.template

    def run() -> int:
        making.begin(template.environment.get("deterministic", True))
        if determinism.start() != template.environment:
            raise UserError("a worker process has another environment than this one; use --jobs 1")
        from experiments.search.conduct import work_for  # imports a backend

        dataset, _ = datasets.load(template.arm.dataset, place.source)
        work_for(searched, place, dataset, address, limit, name)
        return doors.DONE

    interrupts.leave(doors.answered("tune", run))
