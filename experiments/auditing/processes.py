"""Run the audited script in fresh processes."""

from __future__ import annotations

import inspect
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from experiments.auditing import record
from experiments.auditing.record import Record
from experiments.auditing.switches import SWITCHES
from experiments.harness.execution.local import InThisProcess
from experiments.harness.execution.task import Answer, Executor, Task, run_task
from experiments.harness.runtime import env_vars
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, UserError

FUNCTION = f"{__name__}:run_script"
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

    ``program`` is run for it if it is not a script itself: ``path`` is what messages name. The
    processes are started by tasks of the ``executor``.
    """

    def __init__(
        self,
        path: Path,
        arguments: Sequence[str],
        scratch: Path,
        program: Path | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.path, self.arguments, self.scratch = path, list(arguments), scratch
        self.program, self.executor = program or path, executor or InThisProcess()
        self.backend = ""  # known after the first run
        self.numbers = count(1)

    def run(self, request: Request) -> Record:
        """Run the script and return its record; ``ScriptError`` if the script fails."""
        task = self._task(request, self.scratch / f"{next(self.numbers)}")
        return self._record(request, run_task(self.executor, task))

    def run_each(self, folders: Sequence[Path]) -> Generator[tuple[int, Record | ScriptError]]:
        """Run the script to its end in each folder; yield what became of it, with the number."""
        request, numbers = Request(), {folder: n for n, folder in enumerate(folders, 1)}

        def tasks() -> Iterator[Task]:
            for folder, number in numbers.items():
                logger.info(f"run {number} of {len(folders)}: {self.path.name}")
                yield self._task(request, folder)

        with closing(self.executor.run(tasks())) as answers:
            for found in answers:
                number = numbers[found.task.directories[0]]
                try:
                    yield number, self._record(request, found)
                except ScriptError as error:
                    yield number, error

    def _task(self, request: Request, folder: Path) -> Task:
        folder.mkdir(parents=True)
        steps = [Path(request.detail["folder"])] if request.detail else []
        arguments = {
            "program": str(self.program),
            "arguments": self.arguments,
            "folder": str(folder),
            "request": asdict(request),
            "backend": self.backend,
            "python_path": os.environ.get("PYTHONPATH"),
        }
        return Task(FUNCTION, arguments, self.path.name, (folder, *steps), all_checkpoints=True)

    def _record(self, request: Request, found: Answer) -> Record:
        if (code := found.result()) is None:
            raise ScriptError(f"it did not end within {request.timeout:.0f} s")
        found_record = record.read(found.task.directories[0])
        stopped = request.stop_after is not None or request.detail is not None
        if code or not (found_record.end or stopped):
            raise ScriptError(self._failure(code, found_record))
        return found_record

    def _failure(self, code: int, found: Record) -> str:
        name = self.path.name
        if code < 0:
            return f"{name} was ended by {signal.Signals(-code).name}"
        if not code:
            return f"{name} ended its process itself, so the audit is not complete"
        return f"{name} itself failed: {found.end.get('error') or f'exit code {code}'}"


def run_script(
    program: str,
    arguments: Sequence[str],
    folder: str,
    request: Mapping[str, Any],
    backend: str,
    python_path: str | None,
) -> int | None:
    """Run a script in a fresh process, which records it in ``folder``.

    ``request`` has the fields of a ``Request``. Returns the exit code, None after its timeout.
    """
    if not Path(program).is_file():
        raise UserError(
            f"{program} is not on {platform.node()}; put it under the same path on every node"
        )
    file = Path(folder).absolute() / "request.json"
    file.write_text(json.dumps({**request, "folder": str(file.parent)}))
    environ = _environ(request["switches"], backend)
    environ.pop("PYTHONPATH", None)
    with (
        (file.parent / "stdout.txt").open("wb") as stdout,
        (file.parent / "stderr.txt").open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, str(CHILD), str(file), program, *arguments],
            env=environ | ({} if python_path is None else {"PYTHONPATH": python_path}),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        ) as process,
    ):
        try:
            return process.wait(request["timeout"])
        except subprocess.TimeoutExpired:
            return None
        finally:
            process.kill()


def _environ(switches: Sequence[str], backend: str) -> dict[str, str]:
    environ = {"MPLBACKEND": "Agg"} | env_vars.original_environ()  # no windows to close
    for name in switches:
        variables = SWITCHES[name].variables(backend)
        present = {key: environ[key] for key in variables if key in environ}
        environ |= env_vars.merge(present, variables)
    return environ


def function_script(function: Callable[[], Any], scratch: Path) -> Script:
    """Return the script that calls a function of a module."""
    file, paths = inspect.getfile(function), [str(Path(entry).absolute()) for entry in sys.path]
    arguments = [file, function.__module__, function.__name__, json.dumps(paths)]
    return Script(Path(file), arguments, scratch, RUN_FUNCTION)


def error_output(folder: Path) -> str:
    """Return the end of what the script wrote to stderr."""
    lines = (folder / "stderr.txt").read_text(errors="replace").splitlines()
    return os.linesep.join(lines[-SHOWN_LINES:])
