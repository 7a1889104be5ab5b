import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.harness.runtime import filesystem
from experiments.harness.spec import UserError


def test_a_failed_write_leaves_only_the_old_content(tmp_path):
    path = tmp_path / "run.json"
    filesystem.write_atomic(path, "old")

    def fails():
        with filesystem.atomic_replace(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"run\.json: No space left"):
        fails()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_a_regular_file_is_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(UserError, match="not a regular file"):
        filesystem.write_atomic(path, "new")
    assert path.is_fifo()


@pytest.mark.skipif(
    not hasattr(resource, "RLIMIT_FSIZE"), reason="no file size limit on this system"
)
def test_a_full_disk_is_a_user_error(tmp_path):
    code = """if True:
        import resource, signal, sys
        from pathlib import Path
        from experiments.harness.runtime import filesystem
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            filesystem.write_atomic(Path(sys.argv[1]), b"x" * 2000)
        except filesystem.UserError as error:
            sys.exit(str(error))
    """
    completed = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "state"], capture_output=True, text=True
    )
    assert "state: File too large" in completed.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_locked_until_its_process_dies(tmp_path):
    code = """if True:
        import sys, time
        from pathlib import Path
        from experiments.harness.runtime import filesystem
        with filesystem.lock_directory(Path(sys.argv[1])):
            print("locked", flush=True)
            time.sleep(60)
    """
    other = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "run"], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "locked\n"
    with (
        pytest.raises(UserError, match="in use by another process"),
        filesystem.lock_directory(tmp_path / "run"),
    ):
        pass
    other.send_signal(signal.SIGKILL)
    other.wait()
    other.stdout.close()
    with filesystem.lock_directory(tmp_path / "run"):
        pass


def test_an_unwritable_directory_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot write in"),
        filesystem.lock_directory(tmp_path / "file" / "run"),
    ):
        pass


def fail_with(code: int):
    def fails(*_):
        raise OSError(code, os.strerror(code))

    return fails


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_without_sync_costs_a_line(tmp_path, monkeypatch, caplog, code):
    filesystem._warn_once.cache_clear()
    monkeypatch.setattr(os, "fsync", fail_with(code))
    for content in ("one", "two"):
        filesystem.write_atomic(tmp_path / "run.json", content)
        assert (tmp_path / "run.json").read_text() == content
    (line,) = caplog.messages
    assert "cannot sync" in line


def test_a_disk_that_fails_to_sync_is_a_user_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
    with pytest.raises(UserError, match="Input/output error"):
        filesystem.write_atomic(tmp_path / "run.json", "one")


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_costs_a_line(tmp_path, monkeypatch, caplog, code):
    filesystem._warn_once.cache_clear()
    monkeypatch.setattr(fcntl, "flock", fail_with(code))
    for _ in range(2):
        with filesystem.lock_directory(tmp_path / "run"):
            (tmp_path / "run" / "file").write_text("")
    (line,) = caplog.messages
    assert "has no locks" in line
    monkeypatch.undo()
    with filesystem.lock_directory(tmp_path / "run"):  # nothing is left that locks it
        pass


@pytest.mark.parametrize("address", ["gs://bucket/x", "s3://b", "file:///tmp", Path("gs://b/x")])
def test_an_address_is_no_local_directory(address):
    with pytest.raises(ValueError, match="is not a local directory"):
        filesystem.check_local(address)


@pytest.mark.parametrize("path", ["logs", "/tmp/a b", "a:b", "./gs:/x", Path("logs")])
def test_any_path_is_a_local_directory(path):
    assert filesystem.check_local(path) == Path(path)
