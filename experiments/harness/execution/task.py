"""A task: a function to call from plain data in a process of its own, and its answer."""

from __future__ import annotations

import importlib
import json
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from experiments.harness.runtime import determinism
from experiments.harness.spec import ProcessError, UserError, identity

PERFORM = f"{__name__}:perform"
MAX_ATTEMPTS = 3  # how often a task is given out


@dataclass(frozen=True)
class Task:
    """A call of ``function`` (``module:name``), done at least once; arguments and result are JSON.

    Doing it again must give the same. ``name`` is for messages. ``directories`` are those that it
    writes, and no other task; ``inputs`` those that it reads. Its process is started with
    ``backend`` and ``start``, the arguments of ``determinism.start``, and refuses if its
    environment then differs from ``environment``. Without a ``backend`` any process will do. The
    process is killed after ``seconds``. Between machines that share no files, all checkpoints in
    ``directories`` are sent back if ``whole``, else those of ``checkpoint.essential``.
    """

    function: str
    arguments: Mapping[str, Any]
    name: str
    directories: tuple[Path, ...] = ()
    inputs: tuple[Path, ...] = ()
    whole: bool = False
    backend: str | None = None
    start: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] | None = None
    seconds: float | None = None

    @property
    def kind(self) -> str:
        """What its process is started with, as a text: tasks of one kind can share a process."""
        return json.dumps([self.backend, self.start], sort_keys=True)

    def call(self) -> tuple[str, Mapping[str, Any], Mapping[str, Any] | None]:
        """Return the call to make in the task's process: function, arguments and start."""
        digest = self.environment and identity.json_digest(self.environment)
        arguments = {"function": self.function, "arguments": self.arguments, "environment": digest}
        return PERFORM, arguments, self.start


def perform(function: str, arguments: Mapping[str, Any], environment: str | None) -> dict[str, Any]:
    """Call the function of a task, unless this process's environment has another digest."""
    if environment is not None:
        found = determinism.environment()
        if identity.json_digest(found) != environment:
            return {"refused": found}
    module, _, name = function.partition(":")
    return {"value": getattr(importlib.import_module(module), name)(**arguments)}


@dataclass(frozen=True)
class Answer:
    """What became of a task.

    ``value`` is its result if it is ``answered``, the environment that was found if it is
    ``refused``. A ``failed`` task raised ``error``; a ``lost`` one was given out too often.
    ``note`` says where its directories came from, if not from a shared file system.
    """

    task: Task
    status: Literal["answered", "refused", "failed", "lost"]
    value: Any = None
    error: Exception | None = None
    note: str = ""

    def result(self) -> Any:
        """Return the value; raise ``UserError`` or ``ProcessError`` if there is none."""
        if self.status == "refused":
            different = identity.differences(dict(self.task.environment or {}), self.value)
            shown = "; ".join(f"{name} ({was} here, {now} there)" for name, was, now in different)
            raise UserError(f"a worker process has another environment than this one: {shown}")
        if self.error:
            raise self.error
        return self.value


class Executor(Protocol):
    """Carries tasks out."""

    def run(self, tasks: Iterable[Task | None]) -> Generator[Answer]:
        """Yield each task's answer as it comes.

        A task is taken from ``tasks`` when it can start. None stands for no task before the next
        answer. Closing the generator interrupts the tasks that are running.
        """
        ...


def answer(executor: Executor, task: Task) -> Answer:
    """Return the answer of one task."""
    with closing(executor.run(iter([task]))) as answers:
        return next(answers)


class InThisProcess:
    """An executor that does one task after another here; their errors are raised."""

    def __str__(self) -> str:
        return "one after another"

    def run(self, tasks: Iterable[Task | None]) -> Generator[Answer]:
        """Yield each task's answer."""
        for task in tasks:
            if task is None:
                raise RuntimeError("a task waits for an answer, but none is due")
            arguments = json.loads(json.dumps(task.arguments))
            yield Answer(task, "answered", perform(task.function, arguments, None)["value"])


class Source:
    """The tasks to come: those that wait, because their process died or another task has their
    directory, then the next.
    """

    def __init__(self, tasks: Iterable[Task | None]) -> None:
        self.tasks: Iterator[Task | None] = iter(tasks)
        self.running: dict[int, Task] = {}
        self.attempts: dict[int, int] = {}
        self.waiting: list[Task] = []
        self.ended = False

    def take(self) -> Task | None:
        """Return a task to start; None if there is none before the next answer."""
        for task in self.waiting:
            if self._is_free(task):
                self.waiting.remove(task)
                return self._give_out(task)
        if self.ended:
            return None
        try:
            new = next(self.tasks)
        except StopIteration:
            self.ended = True
            return None
        if new and not self._is_free(new):
            self.waiting.append(new)
            return None
        return new and self._give_out(new)

    def _is_free(self, task: Task) -> bool:
        used = {path for other in self.running.values() for path in other.directories}
        return not used & {*task.directories}

    def _give_out(self, task: Task) -> Task:
        self.running[id(task)] = task
        self.attempts[id(task)] = self.attempts.get(id(task), 0) + 1
        return task

    def end(self, task: Task) -> None:
        """Note that a task has been answered."""
        del self.running[id(task)], self.attempts[id(task)]

    def lose(self, task: Task) -> bool:
        """Return whether a task whose process died is given out again, as often as is allowed."""
        del self.running[id(task)]
        if self.attempts[id(task)] == MAX_ATTEMPTS:
            del self.attempts[id(task)]
            return False
        self.waiting.append(task)
        return True

    def refuse(self, task: Task) -> None:
        """Give a task out again that another process may accept."""
        self.end(task)
        self.waiting.append(task)

    def check_progress(self) -> None:
        """Raise ``RuntimeError`` if tasks are left though none is running."""
        if self.waiting or not self.ended:
            raise RuntimeError("a task waits for an answer, but none is due")


def lost(task: Task, error: ProcessError) -> Answer:
    """Return the answer of a task that was given out too often, the last time with that error."""
    text = f"{error}; it was given out {MAX_ATTEMPTS} times; run again to resume"
    return Answer(task, "lost", error=ProcessError(text))
