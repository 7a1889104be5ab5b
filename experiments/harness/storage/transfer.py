"""Directories as one archive, for machines without a shared file system."""

from __future__ import annotations

import io
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from experiments.harness.runtime import filesystem
from experiments.harness.spec import UserError
from experiments.harness.storage import checkpoint

STATES = "state"  # the name of a folder of checkpoints
RECORD = "run.json"  # written last
COPY = ".copy."  # the beginning of the name of a file beside a copy, which may be deleted
LEFT = ".left."  # the beginning of the name of a copy that a killed process left
LOCK_PATIENCE = 60.0  # seconds that the process of a lost task may still hold a directory
ATTEMPTS = 10  # to pack a directory in which another process deletes files
COMPRESSION = 1  # of zlib; weights hardly shrink, event files do at any level

Content = Mapping[PurePosixPath, bytes | None]  # of a directory's files; None for a folder


def pack(directories: Sequence[Path], all_checkpoints: bool = True) -> bytes:
    """Return the directories' files as an archive, without locks and temporary files.

    Unless ``all_checkpoints``, only those of ``checkpoint.essential`` are taken. Another process
    may write in the directories meanwhile. A directory that is not there counts as empty.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(FileNotFoundError):  # an older checkpoint, by now: list them again
            return _pack(directories, all_checkpoints)
    return _pack(directories, all_checkpoints)


def _pack(directories: Sequence[Path], all_checkpoints: bool) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=COMPRESSION) as archive:
        for number, directory in enumerate(directories):
            for path in _members(directory, all_checkpoints):
                member = tarfile.TarInfo(f"{number}/{path.relative_to(directory).as_posix()}")
                if path.is_dir():
                    member.type = tarfile.DIRTYPE
                    archive.addfile(member)
                else:
                    content = path.read_bytes()
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _members(directory: Path, all_checkpoints: bool) -> Iterator[Path]:
    """Yield what to pack: checkpoints before the events up to them, and records last."""
    found = [path for path in directory.rglob("*") if not _is_own(path)]
    skipped: set[Path] = set()
    for folder in () if all_checkpoints else [path for path in found if path.name == STATES]:
        skipped |= {*checkpoint.saved(folder).values()} - {*checkpoint.essential(folder)}
    yield from sorted(
        (path for path in found if path not in skipped),
        key=lambda path: (not path.is_dir(), path.name == RECORD, path.parent.name != STATES, path),
    )


def _is_own(path: Path) -> bool:
    """Return whether a file is for this machine's processes only."""
    return path.name == filesystem.LOCK or path.name.startswith((filesystem.TEMPORARY, COPY))


def read(archive: bytes, count: int) -> list[Content]:
    """Return the content of each of the ``count`` directories of an archive.

    Raises ``UserError`` if the archive is damaged, or has a member outside of the directories.
    """
    contents: list[dict[PurePosixPath, bytes | None]] = [{} for _ in range(count)]
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for member in tar:
                number, path = _place(member, count)
                file = tar.extractfile(member) if member.isfile() else None
                contents[number][path] = file.read() if file else None
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise UserError(f"a directory came damaged from another node: {error}") from None
    return [*contents]


def _place(member: tarfile.TarInfo, count: int) -> tuple[int, PurePosixPath]:
    """Return the number of a member's directory, and its path in it."""
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


def write(directory: Path, content: Content, known: Iterable[PurePosixPath]) -> None:
    """Write the content in the directory; delete those ``known`` files that it does not have.

    Other files stay. Raises ``UserError`` if the directory cannot be written.
    """
    records = [path for path in content if path.name == RECORD]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, data in content.items():
            if path not in records:
                _write_one(directory / path, data)
        for path in sorted({*known} - {*content}, reverse=True):  # a folder after its files
            _delete(directory / path)
        for path in records:
            _write_one(directory / path, content[path])
    except OSError as error:
        raise UserError(f"cannot write in {directory}: {error.strerror or error}") from None


def _write_one(path: Path, data: bytes | None) -> None:
    (path.parent if data is not None else path).mkdir(parents=True, exist_ok=True)
    if data is not None and not (path.is_file() and path.read_bytes() == data):
        filesystem.write_atomic(path, data)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        with suppress(OSError):  # other files are in it
            path.rmdir()
    else:
        path.unlink(missing_ok=True)


@contextmanager
def temporary_copy(directory: Path, content: Content) -> Iterator[None]:
    """Write the content in a directory, and delete the directory after the block.

    A file beside it marks the copy. What a killed process left is moved aside, to a directory
    ``.left.NAME.*``. Raises ``UserError`` if other files are in the directory, ``InUseError`` if a
    process keeps using it.
    """
    marker = directory.with_name(f"{COPY}{directory.name}")
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    made = made or [directory] * marker.exists()
    with filesystem.lock_directory(directory, LOCK_PATIENCE):
        if not marker.exists() and any(_files(directory)):
            raise UserError(f"{directory} has files that are not a copy of the caller's")
        marker.touch()
        if any(_files(directory)):
            aside = tempfile.mkdtemp(prefix=f"{LEFT}{directory.name}.", dir=directory.parent)
            for path in [*directory.iterdir()]:
                if path.name != filesystem.LOCK:
                    path.replace(Path(aside) / path.name)
    try:
        with filesystem.lock_directory(directory, LOCK_PATIENCE):
            write(directory, content, _files(directory))
        yield
    finally:
        with filesystem.lock_directory(directory, LOCK_PATIENCE):
            write(directory, {}, _files(directory))
            with suppress(OSError):
                (directory / filesystem.LOCK).unlink()
        with suppress(OSError):
            marker.unlink()
            for path in made:
                path.rmdir()


def _files(directory: Path) -> list[PurePosixPath]:
    """Return all that is in a directory but its lock, relative to it."""
    found = (path for path in directory.rglob("*") if path != directory / filesystem.LOCK)
    return [PurePosixPath(path.relative_to(directory).as_posix()) for path in found]
