"""Fresh processes that call functions, on any backend and with any settings of determinism.

    subprocesses.call(
        "experiments.verification.self_test_runs:train_short_runs",
        {"directories": {"logs/a": None}, "timing": False},
        backend="jax",
        start={},
    )

A ``Process`` answers one call after another. Calls go to its stdin; results and log messages come
back through a pipe of their own, so output that backends print cannot corrupt them. If the caller
is killed, the process ends too.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from experiments.harness.runtime import env_vars, signals
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, UserError

OnLog = Callable[[int, str], Any]  # a message's level and text
CHUNK = 1 << 16  # bytes read from the pipe at a time


class CallTimeoutError(ProcessError):
    """The process did not finish in time."""


class StartError(UserError):
    """The process cannot be started as asked, such as with a backend that is not installed."""


class FunctionError(ProcessError):
    """The function raised an exception that is no user's error; its process lives on."""


@dataclass(frozen=True)
class Reply:
    """The result of a call."""

    value: Any


def call(
    function: str,
    arguments: Mapping[str, Any],
    *,
    backend: str | None = None,
    start: Mapping[str, Any] | None = None,
    name: str = "",
    timeout: float | None = None,
    launcher: Sequence[str] = (),
) -> Any:
    """Call ``function`` (``module:name``) in a fresh process; return its result.

    ``backend``: this process's by default. ``name`` is that of the call in errors. ``launcher``: a
    command that starts another one, such as an emulator with its options. Raises
    ``CallTimeoutError`` after ``timeout`` seconds, and what ``Process.receive`` does. A timeout or
    an interrupt kills the process.
    """
    environ = env_vars.original_environ() | ({"KERAS_BACKEND": backend} if backend else {})
    process = Process(environ, launcher)
    try:
        process.send(function, arguments, start, name=name)
        return process.wait(timeout)
    finally:
        process.kill()


class Process:
    """A fresh process with the environment variables ``environ``, which answers calls."""

    def __init__(self, environ: Mapping[str, str], launcher: Sequence[str] = ()) -> None:
        read_end, write_end = os.pipe()
        self.answers, self.unread, self.name = read_end, b"", ""
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
        # -P: not the code in the current directory. A group of its own: a terminal's interrupt
        # reaches the caller alone, which decides what becomes of the process.
        self.popen = subprocess.Popen(
            [*launcher, sys.executable, "-P", "-m", __spec__.name, str(write_end)],
            env={**environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            pass_fds=[write_end],
            process_group=0,
        )
        os.close(write_end)

    def fileno(self) -> int:
        """Return a file descriptor that becomes readable when ``receive`` has something to do."""
        return self.answers

    def send(
        self,
        function: str,
        arguments: Mapping[str, Any],
        start: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        with_log: bool = False,
    ) -> None:
        """Call ``function`` (``module:name``); arguments and result are JSON types.

        ``start``: arguments of ``determinism.start``, which is called first unless None. With
        ``with_log``, messages of the process are logged here. ``name`` is that of the call in
        errors, by default the function's.
        """
        self.name = name or function
        call = {"function": function, "arguments": arguments, "start": start, "with_log": with_log}
        assert self.popen.stdin
        try:
            self.popen.stdin.write(json.dumps(call).encode() + b"\n")
            self.popen.stdin.flush()
        except BrokenPipeError:
            pass  # it has died, as ``receive`` will find

    def receive(self, on_log: OnLog | None = None) -> Reply | None:
        """Read what has come, waiting for something; return the reply if it has come.

        Messages are logged here, or go to ``on_log``. Raises ``UserError`` if the function does,
        ``StartError`` if the process cannot be started as asked, ``FunctionError`` for other
        exceptions of the function, and ``ProcessError`` if the process has died.
        """
        if not (data := os.read(self.answers, CHUNK)):
            raise ProcessError(self._failure())
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            kind, content = json.loads(line)
            if kind == "log":
                (on_log or log_here)(*content)
            elif kind == "user_error":
                raise UserError(content)
            elif kind == "start_error":
                raise StartError(content)
            elif kind == "error":
                raise FunctionError(f"{self.name} failed: {content}")
            else:
                return Reply(content)
        return None

    def wait(self, timeout: float | None = None, on_log: OnLog | None = None) -> Any:
        """Return the result of the call; ``CallTimeoutError`` after ``timeout`` seconds."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = None if timeout is None else max(0.0, deadline - time.monotonic())
            if not select.select([self], [], [], left)[0]:
                raise CallTimeoutError(f"{self.name} did not finish within {timeout:.0f} s")
            if reply := self.receive(on_log):
                return reply.value

    def _failure(self) -> str:
        code = self.popen.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().split("\n")
        last = lines[-1].strip() or "no error output"
        return f"{self.name} failed with exit code {code}: {last}"

    def is_alive(self) -> bool:
        """Return whether the process can take another call."""
        return self.popen.poll() is None

    def interrupt(self) -> None:
        """Interrupt the call: the process saves what it has and ends."""
        self.popen.terminate()

    def kill(self) -> None:
        """End the process and those of its group at once."""
        if self.answers >= 0:
            _kill_group(self.popen.pid)
            self.popen.communicate()
            os.close(self.answers)
            self.errors.close()
            self.answers = -1


def interrupt(processes: Sequence[Process], seconds: float) -> None:
    """Interrupt the calls, and wait until the processes have saved what they have and ended."""
    waiting = [process for process in processes if process.is_alive()]
    for process in waiting:
        process.interrupt()
    deadline = time.monotonic() + seconds
    while waiting and time.monotonic() < deadline:
        left = max(0.0, deadline - time.monotonic())
        for process in select.select(waiting, [], [], left)[0]:
            try:
                process.receive()
            except (UserError, FunctionError):
                pass
            except ProcessError:
                waiting.remove(process)


def log_here(level: int, message: str) -> None:
    """Log a process's message here, unless its level is disabled."""
    if logger.isEnabledFor(level):
        logger.handle(logger.makeRecord(logger.name, level, "", 0, message, (), None))


class Answers(logging.Handler):
    """The process's side of the pipe: writes results, and messages while they are wanted."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(logging.INFO)
        os.set_inheritable(descriptor, False)  # else its own processes hold the pipe open
        self.file, self.writing = os.fdopen(descriptor, "w"), threading.RLock()

    def write(self, kind: str, content: Any) -> None:
        text = json.dumps([kind, content])
        with self.writing:
            print(text, file=self.file, flush=True)

    def emit(self, record: logging.LogRecord) -> None:
        self.write("log", [record.levelno, record.getMessage()])


def serve(descriptor: int) -> None:
    """Answer the calls on stdin, until its end, through the pipe with that file descriptor."""
    calls, answers = SimpleQueue[bytes](), Answers(descriptor)
    logger.setLevel(logging.INFO)
    threading.Thread(target=_read_stdin, args=(os.dup(0), calls), daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the functions' own processes may read stdin
    try:
        with signals.handle_signals():
            while True:
                answers.write(*_answer(json.loads(calls.get()), answers))
    except KeyboardInterrupt:
        signals.exit_process(signals.INTERRUPTED)


def _read_stdin(descriptor: int, calls: SimpleQueue[bytes]) -> None:
    """Queue the calls; end the process when stdin ends, for the caller has closed it or died."""
    with os.fdopen(descriptor, "rb") as file:
        for line in file:
            calls.put(line)
    if os.getpgrp() == os.getpid():
        _kill_group(os.getpid())
    os._exit(1)


def _kill_group(leader: int) -> None:
    """End a process that was started in a group of its own, and the processes that it started."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _answer(call: Mapping[str, Any], answers: Answers) -> tuple[str, Any]:
    """Return the kind and the content of the answer to a call."""
    if call["with_log"]:
        logger.addHandler(answers)
    try:
        if call["start"] is not None:
            from experiments.harness.runtime import determinism

            try:
                determinism.start(**call["start"])
            except UserError as error:
                return "start_error", str(error)
        module, _, name = call["function"].partition(":")
        value = getattr(importlib.import_module(module), name)(**call["arguments"])
        json.dumps(value)
    except (UserError, OSError, MemoryError) as error:  # as cli.run_command
        return "user_error", str(error) or "out of memory"
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"
    else:
        return "value", value
    finally:
        logger.removeHandler(answers)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
