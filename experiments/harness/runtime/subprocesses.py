"""A function of the harness, called in a fresh process on any backend, started in any way.

    elsewhere.call("experiments.forensics.selftest:once", {"seed": 1}, backend="jax", start={})

The request goes to the process's stdin, the answer comes back in a file that only the two of them
hold open, so that whatever backends print cannot spoil it. Where the caller is killed, the other
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.harness.runtime import env_vars
from experiments.harness.spec import ProcessError, UserError


class CallTimeoutError(ProcessError):
    """The process had not ended in time."""


def call(
    function: str,
    arguments: Mapping[str, Any],
    *,
    backend: str | None = None,
    start: Mapping[str, Any] | None = None,
    timeout: float | None = None,
) -> Any:
    """Return what ``function`` (``module:name``) returns of ``arguments``; all are JSON types.

    ``start`` are the arguments of ``determinism.start``, which is called first; where None it is
    not. ``backend`` is as for this process where None. Raises ``UserError`` where the function
    does, ``ProcessError`` for any other failure, ``TooLongError`` where that takes longer than
    ``timeout`` seconds; then, and where this process is interrupted, the other one is killed.
    """
    environ = env_vars.original_environ() | ({"KERAS_BACKEND": backend} if backend else {})
    environ["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    words = [sys.executable, "-P", "-m", __spec__.name]  # -P: another folder's code stays out
    with tempfile.TemporaryFile() as answer, _lifeline() as line:
        request: dict[str, Any] = {"function": function, "arguments": arguments, "start": start}
        request |= {"answer": answer.fileno(), "lifeline": line}
        try:
            ended = subprocess.run(
                words,
                env=environ,
                input=json.dumps(request).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[answer.fileno(), line],
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise CallTimeoutError(f"{function} did not end within {timeout:.0f} s") from None
        answer.seek(0)
        told = answer.read()
    if ended.returncode:
        lines = ended.stderr.decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        raise ProcessError(f"{function} failed with exit code {ended.returncode}: {last.strip()}")
    value, refused = json.loads(told)
    if refused is not None:
        raise UserError(refused)
    return value


@contextmanager
def _lifeline() -> Iterator[int]:
    """Yield a descriptor to pass on; it can be read, and is at its end, when this process has."""
    theirs, ours = os.pipe()
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


def _follow(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


def main() -> None:
    """Do what the request on stdin asks for, and write ``[value, refusal]``."""
    request = json.load(sys.stdin)
    threading.Thread(target=_follow, args=(request["lifeline"],), daemon=True).start()
    value = refused = None
    try:
        if request["start"] is not None:
            from experiments.harness.runtime import determinism

            determinism.start(**request["start"])
        module, _, name = request["function"].partition(":")
        value = getattr(importlib.import_module(module), name)(**request["arguments"])
    except UserError as error:
        refused = str(error)
    with open(request["answer"], "w") as answer:  # noqa: PTH123 (a descriptor, not a path)
        json.dump([value, refused], answer)


if __name__ == "__main__":
    main()
