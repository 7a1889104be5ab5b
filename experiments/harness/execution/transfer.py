"""Directories as one archive, for machines without a shared file system."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from experiments.harness.runtime import filesystem
from experiments.harness.spec import UserError
from experiments.harness.storage import checkpoint

STATES = "state"  # the name of a folder of checkpoints
RECORD = "run.json"  # written last
LOCK_PATIENCE = 60.0  # seconds that the process of a lost task may still hold a directory
COMPRESSION = 1  # of zlib; weights hardly shrink, event files do at any level

Content = Mapping[PurePosixPath, bytes | None]  # of a directory's files; None for a folder


def pack(directories: Sequence[Path], whole: bool = True) -> bytes:
    """Return the directories' files as an archive, without locks and temporary files.

    Unless ``whole``, of checkpoints only those of ``checkpoint.essential`` are taken. Another
    process may write in the directories meanwhile.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=COMPRESSION) as archive:
        for number, directory in enumerate(directories):
            for path in _members(directory, whole):
                member = tarfile.TarInfo(f"{number}/{path.relative_to(directory).as_posix()}")
                if path.is_dir():
                    member.type = tarfile.DIRTYPE
                    archive.addfile(member)
                    continue
                with suppress(FileNotFoundError):  # an older checkpoint, by now
                    content = path.read_bytes()
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _members(directory: Path, whole: bool) -> Iterator[Path]:
    """Yield what to pack: checkpoints before the events up to them, and records last."""
    if not directory.is_dir():
        return
    found = [directory, *(path for path in directory.rglob("*") if not _is_own(path))]
    skipped: set[Path] = set()
    for folder in () if whole else [path for path in found if path.name == STATES]:
        skipped |= {*checkpoint.saved(folder).values()} - {*checkpoint.essential(folder)}
    yield from sorted(
        (path for path in found if path not in skipped),
        key=lambda path: (not path.is_dir(), path.name == RECORD, path.parent.name != STATES, path),
    )


def _is_own(path: Path) -> bool:
    """Return whether a file is for this machine's processes only."""
    return path.name == filesystem.LOCK or path.name.startswith(filesystem.TEMPORARY)


def unpack(archive: bytes, directories: Sequence[Path]) -> None:
    """Make the directories what ``pack`` found there; delete those that it did not find.

    Other files in them are deleted. Raises ``UserError`` if a directory cannot be written or the
    archive is not one of ``pack``, ``InUseError`` if another process keeps using a directory.
    """
    contents = _read(archive, len(directories))
    for directory, content in zip(directories, contents, strict=True):
        if content:
            with filesystem.lock_directory(directory, LOCK_PATIENCE):
                _write(directory, content)
        else:
            remove(directory)


def remove(directory: Path) -> None:
    """Delete a directory unless another process keeps using it."""
    if not directory.is_dir():
        return
    with filesystem.lock_directory(directory, LOCK_PATIENCE):
        _delete_others(directory, {})
    with suppress(OSError):
        (directory / filesystem.LOCK).unlink()
        directory.rmdir()


def _read(archive: bytes, count: int) -> list[dict[PurePosixPath, bytes | None]]:
    """Return the content of each of ``count`` directories."""
    contents: list[dict[PurePosixPath, bytes | None]] = [{} for _ in range(count)]
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for member in tar:
                number, path = _place(member, count)
                file = tar.extractfile(member) if member.isfile() else None
                contents[number][path] = file.read() if file else None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(f"a directory came damaged from another node: {error}") from None
    return contents


def _place(member: tarfile.TarInfo, count: int) -> tuple[int, PurePosixPath]:
    """Return the directory's number and the path in it; the archive may be another machine's."""
    path = PurePosixPath(member.name)
    number = path.parts[0] if path.parts else ""
    if (
        path.is_absolute()
        or ".." in path.parts
        or not (member.isfile() or member.isdir())
        or not (number.isascii() and number.isdigit() and int(number) < count)
    ):
        raise UserError(f"an archive from another node has a member {member.name!r}; left alone")
    return int(number), path.relative_to(number)


def _write(directory: Path, content: Content) -> None:
    records = [path for path in content if path.name == RECORD]
    for path, data in content.items():
        if path not in records:
            _write_one(directory / path, data)
    _delete_others(directory, content)
    for path in records:
        _write_one(directory / path, content[path])


def _write_one(path: Path, data: bytes | None) -> None:
    (path.parent if data is not None else path).mkdir(parents=True, exist_ok=True)
    if data is not None and not (path.is_file() and path.read_bytes() == data):
        filesystem.write_atomic(path, data)


def _delete_others(directory: Path, content: Iterable[PurePosixPath]) -> None:
    """Delete what is in the directory besides its lock and the content."""
    kept = {directory / path for path in content}
    for folder, folders, files in os.walk(directory, topdown=False):
        for path in (Path(folder) / name for name in (*files, *folders)):
            if path in kept or path == directory / filesystem.LOCK:
                continue
            with suppress(FileNotFoundError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
