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


def describe_process(value=None, user_error: str | None = None, failure: str | None = None) -> dict:
    """Return ``value`` and this process's id and directory, or raise the given error."""
    print("noise", flush=True)
    os.write(2, b"more noise\n")
    if user_error:
        raise UserError(user_error)
    if failure:
        raise LookupError(failure)
    return {"value": value, "pid": os.getpid(), "folder": str(Path.cwd())}


def write_pid_and_sleep(path: str) -> None:
    """Write this process's id to ``path``, then outlast the test."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def test_the_result_comes_from_another_process_despite_its_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    large = "x" * 200_000  # more than a pipe holds
    answer = subprocesses.call(f"{HERE}:describe_process", {"value": [large, float("inf"), None]})
    assert answer["value"] == [large, float("inf"), None]
    assert answer["pid"] != os.getpid()
    assert answer["folder"] == str(tmp_path)


def test_a_module_in_the_current_directory_does_not_shadow_the_package(tmp_path, monkeypatch):
    (tmp_path / "experiments.py").write_text("raise SystemExit('the wrong code')")
    monkeypatch.chdir(tmp_path)
    assert subprocesses.call(f"{HERE}:describe_process", {"value": 3})["value"] == 3


def test_a_user_error_is_raised_again_and_other_failures_show_their_last_line():
    with pytest.raises(UserError, match="no such thing"):
        subprocesses.call(f"{HERE}:describe_process", {"user_error": "no such thing"})
    with pytest.raises(ProcessError, match="failed: LookupError: no such key"):
        subprocesses.call(f"{HERE}:describe_process", {"failure": "no such key"})
    with pytest.raises(UserError, match="unknown backend 'abacus' in KERAS_BACKEND"):
        subprocesses.call(f"{HERE}:describe_process", {}, backend="abacus", start={})


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_process_ends_with_its_caller(tmp_path, number):
    path = tmp_path / "pid"
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from experiments.harness.runtime import subprocesses; "  # a job may ignore SIGINT
    code += f"subprocesses.call('{HERE}:write_pid_and_sleep', {{'path': {str(path)!r}}})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    while not (path.exists() and path.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    error = process.communicate(timeout=30)[1]
    assert (b"KeyboardInterrupt" in error) == (number == signal.SIGINT)
    deadline = time.monotonic() + 30
    while not has_ended(int(path.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
