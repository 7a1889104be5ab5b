import os
import resource
import signal
import subprocess
import sys

import pytest

from experiments.harness.runtime import filesystem
from experiments.harness.spec import UserError


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path):
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


def test_what_is_no_file_is_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(UserError, match="what is there is no file"):
        filesystem.write_atomic(path, "new")
    assert path.is_fifo()


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no quota to set here")
def test_a_full_disk_is_one_clear_line(tmp_path):
    code = """if True:
        import resource, signal, sys
        from pathlib import Path
        from experiments.harness import files
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            files.write(Path(sys.argv[1]), b"x" * 2000)
        except files.UserError as error:
            sys.exit(str(error))
    """
    made = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "state"], capture_output=True, text=True
    )
    assert "state: File too large" in made.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_directory_has_one_owner_until_it_dies(tmp_path):
    code = """if True:
        import sys, time
        from pathlib import Path
        from experiments.harness import files
        with files.owned(Path(sys.argv[1])):
            print("mine", flush=True)
            time.sleep(60)
    """
    other = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "run"], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "mine\n"
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


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot write in"),
        filesystem.lock_directory(tmp_path / "file" / "run"),
    ):
        pass
