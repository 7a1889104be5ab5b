"""Processes that answer many calls, in place of a fresh one for each: a backend starts slowly."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from experiments.harness.runtime import determinism, env_vars
from experiments.harness.spec import ProcessError, UserError
from experiments.verification import causes


def call_here(
    function: str,
    arguments: Mapping[str, Any],
    *,
    backend: str | None = None,
    start: Mapping[str, Any] | None = None,
) -> Any:
    """Replace ``subprocesses.call`` where the process would have the settings of this one."""
    assert is_like_this_process(backend, start)
    module, _, name = function.partition(":")
    result = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(arguments)))
    return json.loads(json.dumps(result))


def is_like_this_process(backend: str | None, start: Mapping[str, Any] | None) -> bool:
    """Return whether a process started with these settings has the environment of this one."""
    environment = determinism.environment()
    here = causes.recorded_start(environment)
    return backend in (None, environment["backend"]) and {**here, **(start or {})} == here


class SharedProcesses:
    """Replaces ``subprocesses.call``: one process for each backend and start, or this one."""

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}

    def __call__(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        backend: str | None = None,
        start: Mapping[str, Any] | None = None,
    ) -> Any:
        if is_like_this_process(backend, start):
            return call_here(function, arguments)
        settings = json.dumps([backend or os.environ["KERAS_BACKEND"], start], sort_keys=True)
        if settings not in self.servers:
            self.servers[settings] = Server(*json.loads(settings))
        return self.servers[settings].call(function, arguments)

    def end(self) -> None:
        for server in self.servers.values():
            server.end()


class Server:
    """A process, started with these settings, that answers calls until ``end``."""

    def __init__(self, backend: str, start: Mapping[str, Any] | None) -> None:
        answers, fd = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(fd), json.dumps(start or {})],
            env=env_vars.original_environ() | {"KERAS_BACKEND": backend},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[fd],
        )
        os.close(fd)
        self.answers = os.fdopen(answers)

    def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        print(json.dumps([function, arguments]), file=self.process.stdin, flush=True)
        if not (line := self.answers.readline()):
            raise ProcessError(f"{function} failed with exit code {self.process.wait()}")
        value, user_error = json.loads(line)
        if user_error is not None:
            raise UserError(user_error)
        return value

    def end(self) -> None:
        self.process.communicate()  # closes its stdin
        self.answers.close()


def serve(fd: str, start: str) -> None:
    """Answer each call that stdin has, until its end."""
    with os.fdopen(int(fd), "w") as answers:
        for line in sys.stdin:
            function, arguments = json.loads(line)
            module, _, name = function.partition(":")
            value = user_error = None
            try:
                determinism.start(**json.loads(start))
                value = getattr(importlib.import_module(module), name)(**arguments)
            except UserError as error:
                user_error = str(error)
            print(json.dumps([value, user_error]), file=answers, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
