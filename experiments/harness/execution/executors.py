"""The executor that a command asks for."""

from __future__ import annotations

from experiments.harness.execution.cluster.executor import Ray
from experiments.harness.execution.local import Fresh, InThisProcess, Local
from experiments.harness.execution.task import Executor


def choose(jobs: int, cluster: str | None = None) -> Executor:
    """Return what runs ``jobs`` tasks at a time, on each node if there is a cluster."""
    if cluster is not None:
        return Ray(cluster, jobs)
    return Local(jobs) if jobs > 1 else InThisProcess()


def fresh(cluster: str | None = None) -> Executor:
    """Return what runs each task in a fresh process, on a node if there is a cluster."""
    return Fresh() if cluster is None else Ray(cluster, jobs=1)
