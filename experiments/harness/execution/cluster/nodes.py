"""The nodes of a Ray cluster, and which of them can take a task."""

from __future__ import annotations

import socket
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from experiments.harness.execution.task import ExecutorError
from experiments.harness.runtime.log import logger

LIST_INTERVAL = 10.0  # seconds after which nodes are listed again
TIMEOUT = 10.0  # seconds


class ClusterStoppedError(ExecutorError):
    """The cluster's head does not answer. After a minute Ray would end this process."""


def reach(address: str) -> None:
    """Raise ``OSError`` unless something answers at ``HOST:PORT``."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), TIMEOUT).close()


class Nodes:
    """How many tasks each node takes at a time, which are left out, and which share no files.

    ``head`` is the address that lists them, empty if only Ray can reach it.
    """

    def __init__(self, ray: Any, jobs: int, head: str) -> None:
        self.ray, self.jobs, self.head = ray, jobs, head
        self.slots: dict[str, int] = {}
        self.gpus: dict[str, int] = {}
        self.task_counts = Counter[str]()  # so far
        self.unshared = defaultdict[str, set[str]](set)  # paths that a node does not see
        self.left_out: set[str] = set()
        self.reported: set[tuple[str, str]] = set()
        self.refresh()

    def refresh(self) -> None:
        """List the nodes again before the next task."""
        self.listed = -LIST_INTERVAL

    def free(self, used: Mapping[str, int], tried: Collection[str] = ()) -> str | None:
        """Return the node with the most room, None if there is none.

        ``used``: how many tasks each runs. Those ``tried`` before come last.
        """
        if time.monotonic() > self.listed + LIST_INTERVAL:
            self._list()
        room = {node: slots - used.get(node, 0) for node, slots in self.slots.items()}
        free = [node for node, count in room.items() if count > 0]
        return max(
            free,
            key=lambda node: (node not in tried, room[node], -self.task_counts[node]),
            default=None,
        )

    def has_gpu(self, node: str) -> bool:
        """Return whether the node has a GPU."""
        return self.gpus.get(node, 0) > 0

    def leave_out(self, node: str, reason: str) -> bool:
        """Give no more tasks to a node, and say so once; return whether others are left.

        If none is left, the next task may go to any node again.
        """
        if (node, reason) not in self.reported:
            logger.warning(f"node {node[:8]} is left out: {reason}")
        self.reported.add((node, reason))
        self.left_out.add(node)
        self._list()
        if self.slots:
            return True
        self.left_out.clear()
        self._list()
        return False

    def _list(self) -> None:
        self.check_head()
        nodes = {
            node["NodeID"]: node["Resources"]
            for node in self.ray.nodes()
            if node["Alive"]
            and node["Resources"].get("CPU")
            and node["NodeID"] not in self.left_out
        }
        self.gpus = {node: int(has.get("GPU", 0)) for node, has in nodes.items()}
        self.slots = {node: self.gpus[node] or self.jobs for node in nodes}
        self.listed = time.monotonic()

    def check_head(self) -> None:
        """Raise ``ClusterStoppedError`` if the cluster's head does not answer."""
        if not self.head:
            return
        try:
            reach(self.head)
        except OSError as error:
            raise ClusterStoppedError(
                f"the Ray cluster has stopped ({error.strerror or error}); run again to resume"
            ) from None
