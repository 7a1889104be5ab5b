"""Atomic file writes, and directories locked by one process at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from experiments.harness.spec import UserError


class InUseError(UserError):
    """Another process holds the lock of the directory."""


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that ``path`` always holds the whole old content or the whole new one.

    Writes and syncs a temporary file, renames it, then syncs the directory. Raises ``UserError`` if
    that fails; the old content stays.
    """
    with atomic_replace(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_replace(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to ``path`` if the block succeeds."""
    if not path.name:
        raise UserError(f"{path} is a directory, not a file")
    if path.exists() and not path.is_file():
        raise UserError(f"cannot write {path}: not a regular file")
    temporary = path.with_name(f".tmp.{path.name}")  # keeps the suffix: Keras needs it
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Create ``directory`` and lock it; the system releases the lock of a killed process.

    Raises ``UserError`` if that fails, ``InUseError`` if another process holds the lock.
    """
    lock = FileLock(directory / ".lock", timeout=0)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InUseError(f"{directory} is in use by another process") from None
    except OSError as error:
        raise UserError(f"cannot write in {directory}: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()
