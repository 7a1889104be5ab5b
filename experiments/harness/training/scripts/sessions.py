"""The run directories that this process records into, each locked and used by one ``fit``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from experiments.harness.runtime import filesystem

_locks: dict[Path, ExitStack] = {}
_begun: set[Path] = set()
_finished: set[Path] = set()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock a directory until ``finish``, unless the block fails; then a ``fit`` has begun there.

    An earlier ``fit`` of this process that failed in the directory gives its lock up.
    """
    path = directory.resolve()
    _locks.pop(path, ExitStack()).close()
    with ExitStack() as stack:
        stack.enter_context(filesystem.lock_directory(directory))
        yield
        _begun.add(path)
        _locks[path] = stack.pop_all()


def finish(directory: Path) -> None:
    """Note that a ``fit`` ended normally, and unlock its directory."""
    path = directory.resolve()
    _locks.pop(path, ExitStack()).close()
    _finished.add(path)


def has_begun(directory: Path) -> bool:
    """Return whether a ``fit`` of this process has begun in a directory."""
    return directory.resolve() in _begun


def has_finished(directory: Path) -> bool:
    """Return whether a ``fit`` of this process has ended normally in a directory."""
    return directory.resolve() in _finished
