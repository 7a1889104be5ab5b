"""Files that are whole or absent, and directories that one process owns at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from experiments.harness.spec import UserError


class InUseError(UserError):
    """Another process has the directory."""


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that ``path`` holds the old content or the new, never a part of either.

    The content goes to a temporary name, is synced, renamed, and the folder synced. Raises
    ``UserError`` where that fails; the old content is still there then.
    """
    with atomic_replace(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_replace(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes ``path`` when the block ends well."""
    if not path.name:
        raise UserError(f"{path} is a folder, not a file to write")
    if path.exists() and not path.is_file():
        raise UserError(f"cannot write {path}: what is there is no file")
    temporary = path.with_name(f".tmp.{path.name}")  # keeps the suffix: Keras goes by it
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
    """Make ``directory`` and hold it; the system frees what a killed process held.

    Raises ``UserError`` where that fails, ``InUseError`` where another process has it.
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
