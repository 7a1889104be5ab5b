"""Directories sent as archives: what is sent, in which order, and what is refused."""

import io
import tarfile

import numpy as np
import pytest

from experiments.harness.execution import transfer
from experiments.harness.runtime import filesystem
from experiments.harness.spec import History, UserError
from experiments.harness.storage import checkpoint
from experiments.harness.storage.checkpoint import Checkpoint


def contents(directory) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
        if path.name != ".lock"
    }


def test_directories_become_those_that_were_packed(tmp_path, monkeypatch):
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

    there = [tmp_path / "there" / name for name in ("run", "empty", "absent")]
    for directory in (there[0] / "old", there[2] / "state"):
        directory.mkdir(parents=True)
        (directory / "000001").write_text("of another attempt")
    (there[0] / "run.json").write_text("of another attempt")
    written = []
    write = filesystem.write_atomic
    monkeypatch.setattr(
        filesystem,
        "write_atomic",
        lambda path, data: written.append(path.name) or write(path, data),
    )
    transfer.unpack(archive, there)
    assert contents(there[0]) == {**files, "state": None}
    assert contents(there[1]) == {}
    assert there[1].is_dir()
    assert not there[2].exists()
    assert written == ["000001", "events.out.tfevents.1", "run.json"]
    transfer.unpack(archive, there)
    assert len(written) == 3  # what is there already is not written again


def save_states(folder, last: int, first_nan: int | None = None) -> None:
    for interval in range(last + 1):
        losses = [float("nan") if k == first_nan else 1.0 for k in range(1, interval + 1)]
        history = History(tuple({"step": k, "loss": loss} for k, loss in enumerate(losses, 1)))
        chain = ("",) * (interval + 1)
        tensors = {"w": np.zeros(3)}
        state = Checkpoint("id", interval, tensors, {}, history, chain, ({},) * (interval + 1), 0.0)
        checkpoint.save(state, folder)


def test_checkpoints_that_no_run_resumes_from_are_left_out(tmp_path):
    (tmp_path / "run").mkdir()
    save_states(tmp_path / "run" / "state", last=6, first_nan=4)
    assert [*checkpoint.saved(tmp_path / "run" / "state")] == [0, 3, 5, 6]

    def sent(whole: bool) -> list[int]:
        transfer.unpack(transfer.pack([tmp_path / "run"], whole), [tmp_path / "there"])
        return [*checkpoint.saved(tmp_path / "there" / "state")]

    assert sent(whole=True) == [0, 3, 5, 6]
    assert sent(whole=False) == [0, 3, 6]
    checkpoint.path(tmp_path / "run" / "state", 6).write_bytes(b"damaged")
    assert sent(whole=False) == [0, 3, 5]


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
def test_an_archive_that_would_write_elsewhere_is_refused(bad, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(member("0/run.json"))
        archive.addfile(bad)
    with pytest.raises(UserError, match="an archive from another node has a member"):
        transfer.unpack(buffer.getvalue(), [tmp_path / "run"])
    with pytest.raises(UserError, match="came damaged from another node"):
        transfer.unpack(buffer.getvalue()[:40], [tmp_path / "run"])
    assert not [*tmp_path.iterdir()]


def test_a_directory_in_use_is_waited_for_and_then_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "LOCK_PATIENCE", 0.1)
    (tmp_path / "run").mkdir()
    archive = transfer.pack([tmp_path / "run"])
    with (
        filesystem.lock_directory(tmp_path / "run"),
        pytest.raises(filesystem.InUseError, match="is in use by another process"),
    ):
        transfer.unpack(archive, [tmp_path / "run"])
