"""Directories sent as archives: what is sent, in which order, and what is refused."""

import io
import tarfile
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from experiments.harness.runtime import filesystem
from experiments.harness.spec import History, UserError
from experiments.harness.storage import checkpoint, transfer
from experiments.harness.storage.checkpoint import Checkpoint


def contents(directory) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
        if path.name != ".lock"
    }


def test_a_copy_is_what_was_packed_and_is_deleted_again(tmp_path, monkeypatch):
    run, empty, absent = (tmp_path / "here" / name for name in ("run", "empty", "absent"))
    (run / "state").mkdir(parents=True)
    empty.mkdir()
    files = {"run.json": b"{}", "state/000001": b"state", "events.out.tfevents.1": b"e" * 10_000}
    for name, content in files.items():
        (run / name).write_bytes(content)
    (run / ".lock").touch()
    (run / ".tmp.run.json").write_text("half")
    archive = transfer.pack([run, empty, absent])
    assert len(archive) < 2_000

    there = tmp_path / "there" / "mini"
    written = []
    write = filesystem.write_atomic
    monkeypatch.setattr(
        filesystem,
        "write_atomic",
        lambda path, data: written.append(path.name) or write(path, data),
    )
    content, *others = transfer.read(archive, 3)
    assert others == [{}, {}]
    for _ in range(2):  # the second time a killed process has left a copy
        with suppress(StopIteration), transfer.temporary_copy(there / "run", content):
            assert contents(there / "run") == {**files, "state": None}
            (there / "run" / "new").mkdir()
            kept = contents(there)
            raise StopIteration
        assert not (there / "run").exists()
        assert not (there / ".copy.run").exists()
        assert written == ["000001", "events.out.tfevents.1", "run.json"]
        written.clear()
        for name, data in kept.items():
            path = there / name
            path.mkdir(parents=True, exist_ok=True) if data is None else path.write_bytes(b"older")
    (left,) = there.glob(".left.run.*")
    assert set(contents(left)) == {*files, "state", "new"}


def test_files_that_are_no_copy_are_left_alone(tmp_path):
    own = tmp_path / "run" / "run.json"
    own.parent.mkdir()
    own.write_text("{}")
    with (
        pytest.raises(UserError, match="has files that are not a copy of the caller's"),
        transfer.temporary_copy(own.parent, {}),
    ):
        pass
    assert [path.name for path in own.parent.iterdir() if path.name != ".lock"] == ["run.json"]


def test_what_comes_back_deletes_only_files_that_were_sent(tmp_path):
    run = tmp_path / "run"
    (run / "state").mkdir(parents=True)
    (run / "state" / "000001").write_bytes(b"old")
    (sent,) = transfer.read(transfer.pack([run]), 1)
    (run / "note.txt").write_text("of the user")
    back = {PurePosixPath("state"): None, PurePosixPath("state/000002"): b"new"}
    transfer.write(run, back, known=sent)
    assert contents(run) == {"note.txt": b"of the user", "state": None, "state/000002": b"new"}
    transfer.write(run, {}, known=back)
    assert contents(run) == {"note.txt": b"of the user"}


def test_a_directory_that_changes_meanwhile_is_packed_again(tmp_path, monkeypatch):
    folder = tmp_path / "run" / "state"
    folder.mkdir(parents=True)
    save_states(folder, last=3)
    read, later = Path.read_bytes, iter([4, 5])

    def read_late(path):  # meanwhile a newer checkpoint takes the place of an older one
        for last in later:
            save_states(folder, last)
            break
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_late)
    (content,) = transfer.read(transfer.pack([tmp_path / "run"], all_checkpoints=False), 1)
    assert PurePosixPath("state/000005") in content


def save_states(folder, last: int, first_nan: int | None = None) -> None:
    for interval in range(last + 1):
        losses = [float("nan") if k == first_nan else 1.0 for k in range(1, interval + 1)]
        history = History(tuple({"step": k, "loss": loss} for k, loss in enumerate(losses, 1)))
        chain = ("",) * (interval + 1)
        tensors = {"w": np.zeros(3)}
        state = Checkpoint(
            "id", interval, tensors, {}, history, chain, ({},) * (interval + 1), 0.0, 0.0
        )
        checkpoint.save(state, folder)


def test_checkpoints_that_no_run_resumes_from_are_left_out(tmp_path):
    (tmp_path / "run").mkdir()
    save_states(tmp_path / "run" / "state", last=6, first_nan=4)
    assert [*checkpoint.saved(tmp_path / "run" / "state")] == [0, 3, 5, 6]

    def sent(all_checkpoints: bool) -> list[int]:
        (content,) = transfer.read(transfer.pack([tmp_path / "run"], all_checkpoints), 1)
        return sorted(int(path.name) for path, data in content.items() if data is not None)

    assert sent(all_checkpoints=True) == [0, 3, 5, 6]
    assert sent(all_checkpoints=False) == [0, 3, 6]
    checkpoint.path(tmp_path / "run" / "state", 6).write_bytes(b"damaged")
    assert sent(all_checkpoints=False) == [0, 3, 5]


def member(name: str, **fields) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(found, field, value)
    return found


@pytest.mark.parametrize(
    "bad",
    [
        member("/etc/passwd"),
        member("0/../../file"),
        member("1/file"),
        member("file"),
        member("0/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("0/link", type=tarfile.LNKTYPE, linkname="0/run.json"),
        member("0/pipe", type=tarfile.FIFOTYPE),
    ],
)
def test_an_archive_that_would_write_elsewhere_is_refused(bad):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(member("0/run.json"))
        archive.addfile(bad)
    with pytest.raises(UserError, match="an archive from another node has a member"):
        transfer.read(buffer.getvalue(), 1)
    damaged = bytearray(buffer.getvalue())
    damaged[12] ^= 0xFF
    for data in (buffer.getvalue()[:40], bytes(damaged)):
        with pytest.raises(UserError, match="came damaged from another node"):
            transfer.read(data, 1)


def test_a_directory_in_use_is_waited_for_and_then_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "LOCK_PATIENCE", 0.1)
    with (
        filesystem.lock_directory(tmp_path / "run"),
        pytest.raises(filesystem.InUseError, match="is in use by another process"),
        transfer.temporary_copy(tmp_path / "run", {}),
    ):
        pass
