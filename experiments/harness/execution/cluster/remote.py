"""What Ray carries to its workers by value: they may not find the package by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def start_messages(ray: Any) -> Any:
    """Return an actor on this node that holds messages until the caller takes them.

    They are log messages, and archives of the directories of running tasks.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class Messages:
        def __init__(self) -> None:
            self.lines: list[tuple[int, str]] = []
            self.archives: dict[str, bytes] = {}  # the newest of each attempt

        def log(self, level: int, text: str) -> None:
            self.lines.append((level, text))

        def save(self, attempt: str, archive: bytes) -> None:
            self.archives[attempt] = archive

        def take(self) -> tuple[list[tuple[int, str]], dict[str, bytes]]:
            taken = self.lines, self.archives
            self.lines, self.archives = [], {}
            return taken

    own = ray.get_runtime_context().get_node_id()
    here = NodeAffinitySchedulingStrategy(own, soft=False)  # soft, it may be on a node that ends
    return ray.remote(Messages).options(num_cpus=0, scheduling_strategy=here).remote()


def task_function(ray: Any) -> Any:
    """Return the remote function that runs a task on its node, and returns its reply."""

    def run_on_node(request: Mapping[str, Any], archive: bytes | None, messages: Any) -> Any:
        import os
        import sys

        def is_seen(mark: Mapping[str, Any]) -> bool:
            try:
                found = os.stat(mark["file"])  # noqa: PTH116
            except OSError:
                return False
            return mark["stat"] in (None, [found.st_size, found.st_mtime_ns])

        if unshared := [mark["path"] for mark in request["marks"] if not is_seen(mark)]:
            return {"unshared": unshared}
        sys.path += [path for path in request["path"] if path not in sys.path]
        try:
            os.makedirs(request["folder"], exist_ok=True)  # noqa: PTH103
            os.chdir(request["folder"])
            from experiments.harness.execution.cluster import worker
        except ImportError as error:
            return {"unusable": f"the package is not there under the same path: {error}"}
        except OSError as error:
            return {"unusable": f"cannot work in {request['folder']}: {error.strerror}"}
        return worker.run(request, archive, messages)

    return ray.remote(run_on_node)
