"""What nodes send while their tasks run: log messages, and archives of their directories."""

from __future__ import annotations

from typing import Any


def start(ray: Any) -> Any:
    """Return an actor on this node that holds messages until the caller takes them."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class Messages:  # pickled by value: a Ray worker does not find the package by itself
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
