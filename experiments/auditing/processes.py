"""Run the audited script in fresh processes."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from experiments.auditing import record
from experiments.auditing.record import Record
from experiments.auditing.switches import SWITCHES
from experiments.harness.runtime import env_vars
from experiments.harness.spec import ProcessError

CHILD = Path(__file__).parent / "recording" / "child.py"
RUN_FUNCTION = Path(__file__).parent / "run_function.py"
SHOWN_LINES = 40  # of the script's own error output


class ScriptError(ProcessError):
    """The script itself failed."""


@dataclass(frozen=True)
class Request:
    """How a process is to run the script.

    With these ``switches``; up to ``stop_after`` events, or to its end; with a ``detail``
    (``recording.state.Detail``) recorded step by step.
    """

    switches: tuple[str, ...] = ()
    stop_after: int | None = None
    detail: Mapping[str, Any] | None = None
    timeout: float | None = None


class Script:
    """A script and its arguments, run in fresh processes; their folders are in ``scratch``.

    ``program`` is run for it if it is not a script itself: ``path`` is what messages name.
    """

    def __init__(
        self, path: Path, arguments: Sequence[str], scratch: Path, program: Path | None = None
    ) -> None:
        self.path, self.arguments, self.scratch = path, list(arguments), scratch
        self.program = program or path
        self.backend = ""  # known after the first run
        self.numbers = count(1)

    def run(self, request: Request, folder: Path | None = None) -> Record:
        """Run the script and return its record; ``ScriptError`` if the script fails."""
        folder = folder or self.scratch / f"{next(self.numbers)}"
        folder.mkdir(parents=True)
        code = self._wait(request, folder)
        found = record.read(folder)
        stopped = request.stop_after is not None or request.detail is not None
        if code or not (found.end or stopped):
            raise ScriptError(self._failure(code, found))
        return found

    def _wait(self, request: Request, folder: Path) -> int:
        request_file = folder / "request.json"
        content = {
            "folder": str(folder.absolute()),
            "stop_after": request.stop_after,
            "detail": request.detail,
            "switches": request.switches,
        }
        request_file.write_text(json.dumps(content))
        argv = [sys.executable, str(CHILD), str(request_file.absolute()), str(self.program)]
        with (
            (folder / "stdout.txt").open("wb") as stdout,
            (folder / "stderr.txt").open("wb") as stderr,
            subprocess.Popen(
                [*argv, *self.arguments],
                env=self._environ(request.switches),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            ) as process,
        ):
            try:
                return process.wait(request.timeout)
            except subprocess.TimeoutExpired:
                raise ScriptError(f"it did not end within {request.timeout:.0f} s") from None
            finally:
                process.kill()

    def _environ(self, switches: Sequence[str]) -> dict[str, str]:
        environ = {"MPLBACKEND": "Agg"} | env_vars.original_environ()  # no windows to close
        for name in switches:
            variables = SWITCHES[name].variables(self.backend)
            present = {key: environ[key] for key in variables if key in environ}
            environ |= env_vars.merge(present, variables)
        return environ

    def _failure(self, code: int, found: Record) -> str:
        name = self.path.name
        if code < 0:
            return f"{name} was ended by {signal.Signals(-code).name}"
        if not code:
            return f"{name} ended its process itself, so the audit is not complete"
        return f"{name} itself failed: {found.end.get('error') or f'exit code {code}'}"


def function_script(function: Callable[[], Any], scratch: Path) -> Script:
    """Return the script that calls a function of a module."""
    file, paths = inspect.getfile(function), [str(Path(entry).absolute()) for entry in sys.path]
    arguments = [file, function.__module__, function.__name__, json.dumps(paths)]
    return Script(Path(file), arguments, scratch, RUN_FUNCTION)


def error_output(folder: Path) -> str:
    """Return the end of what the script wrote to stderr."""
    lines = (folder / "stderr.txt").read_text(errors="replace").splitlines()
    return os.linesep.join(lines[-SHOWN_LINES:])
