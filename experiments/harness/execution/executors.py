"""The executor that a command asks for."""

from __future__ import annotations

from experiments.harness.execution.local import Fresh, Local
from experiments.harness.execution.ray import Ray
from experiments.harness.execution.task import Executor, InThisProcess


def choose(jobs: int, cluster: str | None = None) -> Executor:
    """Return what does ``jobs`` tasks at a time, here or on each node of the cluster there."""
    if cluster is not None:
        return Ray(cluster, jobs)
    return Local(jobs) if jobs > 1 else InThisProcess()


def fresh(cluster: str | None = None) -> Executor:
    """Return what does each task in a fresh process, here or on a node of the cluster there."""
    return Fresh() if cluster is None else Ray(cluster, jobs=1)
