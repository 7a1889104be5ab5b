"""The tasks that an executor has still to run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from experiments.harness.execution.task import Task

MAX_ATTEMPTS = 3


class TaskQueue:
    """The tasks to come: first those that wait, because their process died, their node refused
    them or another task has their directory; then the next ones.
    """

    def __init__(self, tasks: Iterable[Task | None]) -> None:
        self.tasks: Iterator[Task | None] = iter(tasks)
        self.running: dict[int, Task] = {}
        self.attempts: dict[int, int] = {}
        self.waiting: list[Task] = []
        self.blocked = self.ended = False  # until the next answer; for good

    def take(self) -> Task | None:
        """Return a task to start; None if there is none before the next answer."""
        for task in self.waiting:
            if self._is_free(task):
                self.waiting.remove(task)
                return self._start(task)
        if self.ended or self.blocked:
            return None
        try:
            new = next(self.tasks)
        except StopIteration:
            self.ended = True
            return None
        if new and self._is_free(new):
            return self._start(new)
        self.blocked = True
        self.waiting += [new] if new else []
        return None

    def _is_free(self, task: Task) -> bool:
        used = {path for other in self.running.values() for path in other.directories}
        return not used & {*task.directories}

    def _start(self, task: Task) -> Task:
        self.running[id(task)] = task
        self.attempts[id(task)] = self.attempts.get(id(task), 0) + 1
        return task

    def end(self, task: Task) -> None:
        """Note that a task has been answered."""
        self._stop(task)
        del self.attempts[id(task)]

    def lose(self, task: Task) -> bool:
        """Return whether a task whose process died is to be started again."""
        if self.attempts[id(task)] == MAX_ATTEMPTS:
            self.end(task)
            return False
        self._stop(task)
        self.waiting.append(task)
        return True

    def put_back(self, task: Task) -> None:
        """Start a task again that another process may accept; no attempt is counted."""
        self.end(task)
        self.waiting.append(task)

    def _stop(self, task: Task) -> None:
        del self.running[id(task)]
        self.blocked = False

    def check_progress(self) -> None:
        """Raise ``RuntimeError`` if tasks are left though none is running."""
        if self.waiting or not self.ended:
            raise RuntimeError("a task waits for an answer, but none is due")
