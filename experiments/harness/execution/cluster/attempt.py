"""A task given to a node, and the copies of the caller's directories that the node has."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from experiments.harness.execution.cluster.marks import Marks, folder_of
from experiments.harness.execution.task import Task
from experiments.harness.runtime import env_vars, filesystem
from experiments.harness.storage import transfer


class Attempt:
    """A task given to a node, which does not see the paths ``unshared``.

    ``directories`` and ``inputs`` are those of the task's of which the node gets copies, ``known``
    the files in the directories that were sent or came back last, and ``received`` the bytes that
    came back. ``locks`` holds the caller's directories while the node has copies.
    """

    def __init__(self, task: Task, node: str, unshared: Collection[str]) -> None:
        self.task, self.node, self.unshared = task, node, unshared
        self.name = secrets.token_hex(8)
        self.directories = [path for path in task.directories if str(folder_of(path)) in unshared]
        self.inputs = [path for path in task.inputs if str(path) in unshared]
        self.known: list[transfer.Content] = []
        self.received = 0
        self.locks = ExitStack()

    def pack(self) -> bytes | None:
        """Lock the directories; return them and the inputs as an archive, None if there are none.

        Raises ``InUseError`` if another process has one.
        """
        paths = [*self.directories, *self.inputs]
        if not paths:
            return None
        with ExitStack() as locks:
            for path in self.directories:
                locks.enter_context(filesystem.lock_directory(path))
            archive = transfer.pack(paths)
            self.known = transfer.read(archive, len(paths))[: len(self.directories)]
            self.locks = locks.pop_all()
        return archive

    def write(self, archive: bytes) -> None:
        """Write what the node sent of the directories."""
        contents = transfer.read(archive, len(self.directories))
        for path, content, known in zip(self.directories, contents, self.known, strict=True):
            transfer.write(path, content, known)
        self.known = contents
        self.received += len(archive)

    def request(self, marks: Marks, snapshot: float) -> dict[str, Any]:
        """Return the request to the node, as plain data."""
        task = self.task
        return {
            "call": task.call(),
            "variables": env_vars.bit_changing(env_vars.original_environ()) | task.variables,
            "path": [str(Path(entry).absolute()) for entry in sys.path],
            "folder": str(Path.cwd()),
            "name": task.name,
            "attempt": self.name,
            "directories": [str(path) for path in self.directories],
            "inputs": [str(path) for path in self.inputs],
            "all_checkpoints": task.all_checkpoints,
            "marks": [mark for mark in marks.of(task) if mark["path"] not in self.unshared],
            "snapshot": snapshot,
        }

    def note(self) -> str:
        """Return where the task's directories came from, if they were sent."""
        if not self.received:
            return ""
        size = f"{self.received / 1e6:.1f} MB" if self.received >= 1e5 else "under 0.1 MB"
        return f"{size} from node {self.node[:8]}"
