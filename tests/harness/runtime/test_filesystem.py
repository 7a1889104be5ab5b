import os
import resource
import signal
import subprocess
import sys

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
