"""Files by which a node shows that it sees what a task needs of the caller's."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from experiments.harness.execution.task import Task


def folder_of(directory: Path) -> Path:
    """Return the folder that a node has to share to see a task's directory."""
    return directory.absolute().parent


class Marks:
    """A new file beside each of a task's directories, and one that each of its inputs has."""

    def __init__(self) -> None:
        self.files: dict[Path, Path] = {}  # by folder

    def of(self, task: Task) -> list[dict[str, Any]]:
        """Return the marks of a task: the path, its file, and the file's size and time if known."""
        return [*map(self._of_directory, task.directories), *map(_of_input, task.inputs)]

    def remove(self) -> None:
        """Delete the new files."""
        for file in self.files.values():
            file.unlink(missing_ok=True)

    def _of_directory(self, directory: Path) -> dict[str, Any]:
        if (folder := folder_of(directory)) not in self.files:
            folder.mkdir(parents=True, exist_ok=True)
            self.files[folder] = folder / f".{secrets.token_hex(8)}"
            self.files[folder].touch()
        return {"path": str(folder), "file": str(self.files[folder]), "stat": None}


def _of_input(path: Path) -> dict[str, Any]:
    file = min((each for each in path.rglob("*") if each.is_file()), default=path)
    found = file.stat()
    stat = None if file == path else [found.st_size, found.st_mtime_ns]
    return {"path": str(path), "file": str(file.absolute()), "stat": stat}
