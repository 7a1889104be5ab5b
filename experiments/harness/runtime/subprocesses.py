"""Call a function in a fresh process, on any backend and with any settings of determinism.

    subprocesses.call(
        "experiments.verification.self_test_runs:train_short_runs",
        {"directories": {"logs/a": None}, "timing": False},
        backend="jax",
        start={},
    )

The request goes to the process's stdin. The result comes back in an unnamed file that both
processes hold open, so output that backends print cannot corrupt it. If the caller is killed, the
process ends too.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.harness.runtime import env_vars
from experiments.harness.spec import ProcessError, UserError


class CallTimeoutError(ProcessError):
    """The process did not finish in time."""


def call(
    function: str,
    arguments: Mapping[str, Any],
    *,
    backend: str | None = None,
    start: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    launcher: Sequence[str] = (),
) -> Any:
    """Call ``function`` (``module:name``) in a fresh process; return its result.

    Arguments and result are JSON types. ``backend``: this process's by default. ``start``:
    arguments of ``determinism.start``, which is called first unless None. Raises ``UserError`` if
    the function does, ``CallTimeoutError`` after ``timeout`` seconds, ``ProcessError`` for any
    other failure. A timeout or an interrupt kills the process. ``launcher``: a command that starts
    another one, such as an emulator with its options.
    """
    environ = env_vars.original_environ() | ({"KERAS_BACKEND": backend} if backend else {})
    environ["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    # -P: not the code in the current directory
    argv = [*launcher, sys.executable, "-P", "-m", __spec__.name]
    with tempfile.TemporaryFile() as result, _lifeline() as lifeline:
        request = {
            "function": function,
            "arguments": arguments,
            "start": start,
            "result_fd": result.fileno(),
            "lifeline_fd": lifeline,
        }
        try:
            completed = subprocess.run(
                argv,
                env=environ,
                input=json.dumps(request).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[result.fileno(), lifeline],
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise CallTimeoutError(f"{function} did not finish within {timeout:.0f} s") from None
        result.seek(0)
        payload = result.read()
    if code := completed.returncode:
        lines = completed.stderr.decode(errors="replace").strip().split("\n")
        raise ProcessError(
            f"{function} failed with exit code {code}: {lines[-1].strip() or 'no error output'}"
        )
    value, user_error = json.loads(payload)
    if user_error is not None:
        raise UserError(user_error)
    return value


@contextmanager
def _lifeline() -> Iterator[int]:
    """Yield the read end of a pipe that reaches its end when this process ends."""
    read_end, write_end = os.pipe()
    try:
        yield read_end
    finally:
        os.close(read_end)
        os.close(write_end)


def exit_with_parent(lifeline: int) -> None:
    """End this process, from a thread, when ``lifeline`` closes: a pipe that the parent holds."""

    def wait() -> None:
        os.read(lifeline, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Answer the request on stdin: write ``[value, user_error]`` to its result file."""
    request = json.load(sys.stdin)
    exit_with_parent(request["lifeline_fd"])
    value = user_error = None
    try:
        if request["start"] is not None:
            from experiments.harness.runtime import determinism

            determinism.start(**request["start"])
        module, _, name = request["function"].partition(":")
        value = getattr(importlib.import_module(module), name)(**request["arguments"])
    except UserError as error:
        user_error = str(error)
    with os.fdopen(request["result_fd"], "w") as result:
        json.dump([value, user_error], result)


if __name__ == "__main__":
    main()
