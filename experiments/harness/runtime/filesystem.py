"""Atomic file writes, and directories locked by one process at a time."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from experiments.harness.runtime.log import logger
from experiments.harness.spec import UserError

# How file systems say that they cannot do something at all, unlike a full or failing disk.
UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
LOCK = ".lock"  # a file's name
TEMPORARY = ".tmp."  # the beginning of one


class InUseError(UserError):
    """Another process holds the lock of the directory."""


def check_local(directory: Path | str) -> Path:
    """Return a directory's path; ``ValueError`` for an address such as ``gs://bucket/logs``."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(directory)):  # Path makes one slash of two
        raise ValueError(f"{directory} is not a local directory; write to one and copy or mount it")
    return Path(directory)


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
    temporary = path.with_name(f"{TEMPORARY}{path.name}")  # keeps the suffix: Keras needs it
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
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        _warn_once("this file system cannot sync: a power cut may cost the last intervals")
    finally:
        os.close(descriptor)


@cache
def _warn_once(line: str) -> None:
    logger.warning(line)


@contextmanager
def lock_directory(directory: Path, patience: float = 0.0) -> Iterator[None]:
    """Create ``directory`` and lock it; the system releases the lock of a killed process.

    On a file system without locks, log that and go on. Raises ``UserError`` if the directory cannot
    be written, ``InUseError`` if another process still holds the lock after ``patience`` seconds.
    """
    # No soft lock instead: it would outlive a killed process.
    lock = FileLock(directory / LOCK, timeout=patience, fallback_to_soft=False)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        has_locks = _acquire(lock)
    except Timeout:
        raise InUseError(f"{directory} is in use by another process") from None
    except OSError as error:
        raise UserError(f"cannot write in {directory}: {error.strerror or error}") from None
    if not has_locks:
        _warn_once("this file system has no locks: do not train a run in two processes at once")
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: BaseFileLock) -> bool:
    """Acquire the lock; return False if the file system has no locks."""
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    except NotImplementedError:
        return False
    return True
