"""A task: a function to call from plain data in a process of its own, and its answer."""

from __future__ import annotations

import importlib
import json
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from experiments.harness.runtime import determinism, env_vars
from experiments.harness.spec import ProcessError, UserError, identity

PERFORM = f"{__name__}:perform"


@dataclass(frozen=True)
class Task:
    """A call of ``function`` (``module:name``), done at least once; arguments and result are JSON.

    Doing it again must give the same. ``name`` is for messages. Only this task writes
    ``directories``; it reads ``inputs``. Its process is started with ``backend`` and ``start``, the
    arguments of ``determinism.start``, and refuses if its environment then differs from
    ``environment``. Without a ``backend`` any process will do. Between machines that share no
    files, ``all_checkpoints`` in ``directories`` are sent back, else only the
    ``checkpoint.essential``. ``node``: the cluster's node that must do it, if any.
    """

    function: str
    arguments: Mapping[str, Any]
    name: str
    directories: tuple[Path, ...] = ()
    inputs: tuple[Path, ...] = ()
    all_checkpoints: bool = False
    backend: str | None = None
    start: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] | None = None
    node: str | None = None

    @property
    def kind(self) -> str:
        """What its process is started with, as a text: tasks of one kind can share a process."""
        return json.dumps([self.backend, self.start], sort_keys=True)

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that its process needs beside the caller's."""
        return {"KERAS_BACKEND": self.backend} if self.backend else {}

    def call(self) -> tuple[str, Mapping[str, Any], Mapping[str, Any] | None]:
        """Return the call to make in the task's process: function, arguments and start."""
        digest = self.environment and identity.json_digest(self.environment)
        arguments = {"function": self.function, "arguments": self.arguments, "environment": digest}
        return PERFORM, arguments, self.start

    def process_environ(self) -> dict[str, str]:
        """Return the environment variables of its process on this machine."""
        return env_vars.original_environ() | self.variables


class ExecutorError(ProcessError):
    """The executor cannot run tasks any more, whichever they are."""


class RefusedError(Exception):
    """Raised by a task's function if its process has another ``environment`` than it needs."""

    def __init__(self, environment: Mapping[str, Any]) -> None:
        super().__init__("another environment than the task needs")
        self.environment = dict(environment)


def perform(function: str, arguments: Mapping[str, Any], environment: str | None) -> dict[str, Any]:
    """Call the function of a task, unless this process's environment has another digest."""
    if environment is not None:
        found = determinism.environment()
        if identity.json_digest(found) != environment:
            return {"refused": found}
    module, _, name = function.partition(":")
    try:
        return {"value": getattr(importlib.import_module(module), name)(**arguments)}
    except RefusedError as error:
        return {"refused": error.environment}


@dataclass(frozen=True)
class Answer:
    """What became of a task.

    ``value`` is its result if it is ``answered``, the environment that was found if it is
    ``refused``. A ``failed`` task raised ``error``; a ``lost`` one lost its process too often.
    ``node`` is the cluster's node that did it. ``note`` says where its directories came from, if
    not from a shared file system.
    """

    task: Task
    status: Literal["answered", "refused", "failed", "lost"]
    value: Any = None
    error: Exception | None = None
    node: str | None = None
    note: str = ""

    @classmethod
    def of_reply(cls, task: Task, reply: Mapping[str, Any], **fields: Any) -> Answer:
        """Return the answer in what ``perform`` returned."""
        if "refused" in reply:
            return cls(task, "refused", reply["refused"], **fields)
        return cls(task, "answered", reply["value"], **fields)

    def result(self) -> Any:
        """Return the value; raise ``UserError`` or ``ProcessError`` if there is none."""
        if self.status == "refused":
            shown = differences(self.task, self.value)
            raise UserError(f"a worker process has another environment than this one: {shown}")
        if self.error:
            raise self.error
        return self.value


def differences(task: Task, found: Mapping[str, Any]) -> str:
    """Return how the environment that was found differs from the task's, as text."""
    if task.environment is None:
        return "it is not the recorded one"
    different = identity.differences(dict(task.environment or {}), found)
    return "; ".join(f"{name} ({was} here, {now} there)" for name, was, now in different)


class Executor(Protocol):
    """Runs tasks. ``str`` says how many at a time, for a log line."""

    def run(self, tasks: Iterable[Task | None]) -> Generator[Answer]:
        """Yield each task's answer as it comes.

        A task is taken from ``tasks`` when it can start. None stands for no task before the next
        answer. Closing the generator interrupts the tasks that are running. Raises what ``tasks``
        raises, and ``ExecutorError``.
        """
        ...


def run_task(executor: Executor, task: Task) -> Answer:
    """Run one task; return its answer."""
    with closing(executor.run(iter([task]))) as answers:
        return next(answers)


def lost(task: Task, error: ProcessError, attempts: int) -> Answer:
    """Return the answer of a task whose process died in each attempt, the last time so."""
    text = f"{error}; {attempts} attempts; run again to resume"
    return Answer(task, "lost", error=ProcessError(text))
