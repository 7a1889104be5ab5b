"""The run directories that this process records into, each locked and used by one ``fit``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from experiments.harness.runtime import filesystem

_locks: dict[Path, ExitStack] = {}
_begun: set[Path] = set()
_finished: set[Path] = set()


def lock(directory: Path) -> None:
    """Lock a directory until ``finish``; an earlier ``fit`` that failed here gives its lock up."""
    path = directory.resolve()
    if path in _locks:
        _locks.pop(path).close()
    stack = ExitStack()
    stack.enter_context(filesystem.lock_directory(directory))
    _locks[path] = stack


def finish(directory: Path) -> None:
    """Note that a ``fit`` ended normally, and unlock its directory."""
    path = directory.resolve()
    _locks.pop(path, ExitStack()).close()
    _finished.add(path)


def begin(directory: Path) -> bool:
    """Note that a ``fit`` begins in a directory; return whether one did before."""
    path = directory.resolve()
    before = path in _begun
    _begun.add(path)
    return before


def is_finished(directory: Path) -> bool:
    """Return whether a ``fit`` of this process has ended normally in a directory."""
    return directory.resolve() in _finished
