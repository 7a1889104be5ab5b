"""A task given to a node of a Ray cluster, and what its reply means."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.harness.execution.task import Task
from experiments.harness.runtime import env_vars
from experiments.harness.spec import ProcessError, UserError, identity


@dataclass
class Attempt:
    """A task given to a node, and how many bytes of its directories came back from there."""

    task: Task
    node: str
    name: str
    received: int = 0

    def note(self) -> str:
        """Return where the task's directories came from, if they were sent."""
        if not self.received:
            return ""
        size = f"{self.received / 1e6:.1f} MB" if self.received >= 1e5 else "under 0.1 MB"
        return f"{size} from node {self.node[:8]}"


def submit(
    ray: Any,
    attempt: Attempt,
    *,
    archive: bytes | None,
    tokens: Sequence[Path],
    snapshot: float,
    on_gpu: bool,
    messages: Any,
) -> Any:
    """Start a task on its node; return the reference of its reply.

    A node that does not see the ``tokens`` needs the ``archive`` of the task's directories.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = attempt.task
    backend = {"KERAS_BACKEND": task.backend} if task.backend else {}
    order = {
        "call": task.call(),
        "variables": env_vars.deciding(env_vars.original_environ()) | backend,
        "path": [str(Path(entry).absolute()) for entry in sys.path],
        "folder": str(Path.cwd()),
        "name": task.name,
        "seconds": task.seconds,
        "attempt": attempt.name,
        "directories": [str(path) for path in task.directories],
        "inputs": [str(path) for path in task.inputs],
        "whole": task.whole,
        "tokens": [str(token) for token in tokens],
        "snapshot": snapshot,
    }
    needs_gpu = on_gpu and (task.environment or {}).get("device") != "cpu"
    return (
        ray.remote(_carry_out())
        .options(
            name=task.name,
            num_cpus=0,  # the caller counts the tasks of a node
            num_gpus=int(needs_gpu),
            max_retries=0,  # as above
            scheduling_strategy=NodeAffinitySchedulingStrategy(attempt.node, soft=False),
        )
        .remote(order, archive, messages)
    )


def _carry_out() -> Any:
    """Return what a Ray worker does; it is pickled by value, for it finds the package by itself."""

    def carry_out(order: Mapping[str, Any], archive: bytes | None, messages: Any) -> Any:
        import os
        import sys

        is_shared = all(os.path.exists(token) for token in order["tokens"])  # noqa: PTH110
        if not is_shared and archive is None:
            return {"unshared": True}
        sys.path += [path for path in order["path"] if path not in sys.path]
        try:
            os.makedirs(order["folder"], exist_ok=True)  # noqa: PTH103
            os.chdir(order["folder"])
            from experiments.harness.execution import ray_worker
        except ImportError as error:
            return {"unusable": f"the package is not there under the same path: {error}"}
        except OSError as error:
            return {"unusable": f"cannot work in {order['folder']}: {error.strerror}"}
        return ray_worker.carry_out(order, None if is_shared else archive, messages)

    return carry_out


def reason_to_leave_out(task: Task, reply: Mapping[str, Any]) -> str:
    """Return why a node is to be left out, empty if it is not."""
    if "refused" in reply:
        different = identity.differences(dict(task.environment or {}), reply["refused"])
        shown = "; ".join(f"{name} ({was} here, {now} there)" for name, was, now in different)
        return f"its environment differs: {shown}"
    return str(reply.get("unusable", ""))


def error_of(reply: Mapping[str, Any]) -> Exception:
    """Return the error that a task raised."""
    if "user_error" in reply:
        return UserError(reply["user_error"])
    return ProcessError(reply["error"])
