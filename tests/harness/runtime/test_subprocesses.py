import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.harness.runtime import subprocesses
from experiments.harness.spec import ProcessError, UserError

HERE = "tests.harness.runtime.test_subprocesses"


def told(value=None, refusal: str | None = None, failure: str | None = None) -> dict:
    """Return what another process finds, or fail as asked."""
    print("noise", flush=True)
    os.write(2, b"more noise\n")
    if refusal:
        raise UserError(refusal)
    if failure:
        raise LookupError(failure)
    return {"value": value, "pid": os.getpid(), "folder": str(Path.cwd())}


def last(path: str) -> None:
    """Tell where this process is, and never end."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def test_it_answers_from_another_process_whatever_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    large = "x" * 200_000  # more than a pipe holds
    answer = subprocesses.call(f"{HERE}:told", {"value": [large, float("inf"), None]})
    assert answer["value"] == [large, float("inf"), None]
    assert answer["pid"] != os.getpid()
    assert answer["folder"] == str(tmp_path)


def test_a_folder_with_code_of_that_name_does_not_get_in_the_way(tmp_path, monkeypatch):
    (tmp_path / "experiments.py").write_text("raise SystemExit('the wrong code')")
    monkeypatch.chdir(tmp_path)
    assert subprocesses.call(f"{HERE}:told", {"value": 3})["value"] == 3


def test_a_users_error_is_one_here_and_another_failure_tells_its_last_line():
    with pytest.raises(UserError, match="no such thing"):
        subprocesses.call(f"{HERE}:told", {"refusal": "no such thing"})
    with pytest.raises(ProcessError, match="exit code 1: LookupError: 'deep'"):
        subprocesses.call(f"{HERE}:told", {"failure": "'deep'"})
    with pytest.raises(UserError, match="KERAS_BACKEND=abacus is no backend"):
        subprocesses.call(f"{HERE}:told", {}, backend="abacus", start={})


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_its_caller(tmp_path, sent):
    path = tmp_path / "pid"
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from experiments.forensics import elsewhere; "  # a shell's job may ignore SIGINT
    code += f"elsewhere.call('{HERE}:last', {{'path': {str(path)!r}}})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    while not (path.exists() and path.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(sent)
    told = process.communicate(timeout=30)[1]
    assert (b"KeyboardInterrupt" in told) == (sent == signal.SIGINT)
    deadline = time.monotonic() + 30
    while not gone(int(path.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
