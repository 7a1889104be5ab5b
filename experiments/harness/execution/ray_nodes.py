"""The nodes of a Ray cluster that tasks can be given to."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError

LIST_INTERVAL = 10.0  # seconds after which nodes are listed again
TIMEOUT = 10.0  # seconds


class ClusterStoppedError(ProcessError):
    """The cluster's head does not answer. After a minute Ray would end this process."""


def reach(address: str) -> None:
    """Raise ``OSError`` unless something answers at ``HOST:PORT``."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), TIMEOUT).close()


class Nodes:
    """How many tasks each node takes at a time, which are left out, and which have own files.

    ``head`` is the address that lists them, empty if only Ray can reach it.
    """

    def __init__(self, ray: Any, jobs: int, head: str) -> None:
        self.ray, self.jobs, self.head = ray, jobs, head
        self.slots: dict[str, int] = {}
        self.gpus: dict[str, int] = {}
        self.given = Counter[str]()  # tasks so far
        self.unshared: set[str] = set()
        self.left_out: set[str] = set()
        self.named: set[tuple[str, str]] = set()
        self.forget()

    def forget(self) -> None:
        """List the nodes again before the next task."""
        self.listed = -LIST_INTERVAL

    def free(self, used: Sequence[str]) -> str | None:
        """Return the node with the most room, given the nodes in use; None if there is none."""
        if time.monotonic() > self.listed + LIST_INTERVAL:
            self._list()
        room = {node: slots - used.count(node) for node, slots in self.slots.items()}
        best = max(room, key=lambda node: (room[node], -self.given[node]), default=None)
        return best if best is not None and room[best] > 0 else None

    def has_gpu(self, node: str) -> bool:
        """Return whether the node has a GPU."""
        return self.gpus.get(node, 0) > 0

    def leave_out(self, node: str, reason: str) -> bool:
        """Give no more tasks to a node, and say so once; return whether others are left.

        If none is left, all are given the next task.
        """
        if (node, reason) not in self.named:
            logger.warning(f"node {node[:8]} is left out: {reason}")
        self.named.add((node, reason))
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
