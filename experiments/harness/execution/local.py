"""Tasks in this process, and in processes of this machine."""

from __future__ import annotations

import json
import select
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from experiments.harness.execution.task import Answer, Task, lost, perform
from experiments.harness.execution.task_queue import MAX_ATTEMPTS, TaskQueue
from experiments.harness.runtime import subprocesses
from experiments.harness.runtime.log import logger
from experiments.harness.runtime.subprocesses import FunctionError, Process
from experiments.harness.spec import ProcessError, UserError

GRACE = 30.0  # seconds that interrupted processes have to save what they have


class InThisProcess:
    """An executor that runs one task after another here, in any environment; errors are raised."""

    def __str__(self) -> str:
        return "one after another"

    def run(self, tasks: Iterable[Task | None]) -> Generator[Answer]:
        """Yield each task's answer; ``Executor.run``."""

        def reply(task: Task) -> Mapping[str, Any]:
            return perform(task.function, json.loads(json.dumps(task.arguments)), None)

        return _one_after_another(tasks, reply)


class Fresh:
    """An executor that runs one task after another, each once, in a fresh process, without its log.

    Errors are raised.
    """

    def __str__(self) -> str:
        return "one after another"

    def run(self, tasks: Iterable[Task | None]) -> Generator[Answer]:
        """Yield each task's answer; ``Executor.run``."""

        def reply(task: Task) -> Mapping[str, Any]:
            function, arguments, start = task.call()
            return subprocesses.call(
                function, arguments, backend=task.backend, start=start, name=task.name
            )

        return _one_after_another(tasks, reply)


def _one_after_another(
    tasks: Iterable[Task | None], reply: Callable[[Task], Mapping[str, Any]]
) -> Generator[Answer]:
    queue = TaskQueue(tasks)
    while task := queue.take():
        answer = Answer.of_reply(task, reply(task))
        queue.end(task)
        yield answer
    queue.check_progress()


class Worker:
    """A process for tasks of one kind, one after another."""

    def __init__(self, task: Task) -> None:
        self.process = Process(task.process_environ())
        self.kind, self.task = task.kind, task

    def fileno(self) -> int:
        """Return the file descriptor to wait for."""
        return self.process.fileno()

    def start(self, task: Task) -> None:
        """Start a task."""
        self.task = task
        self.process.send(*task.call(), name=task.name, with_log=True)

    def receive(self) -> Answer | None:
        """Return the task's answer if it has come; ``ProcessError`` if the process has died."""
        try:
            reply = self.process.receive()
        except (UserError, FunctionError) as error:
            return Answer(self.task, "failed", error=error)
        return Answer.of_reply(self.task, reply.value) if reply else None


class Local:
    """An executor with up to ``jobs`` processes at a time, kept for tasks of the same kind.

    If a process dies, its task is started again in a new one. All processes end with this one.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def __str__(self) -> str:
        return f"{self.jobs} at a time"

    def run(self, tasks: Iterable[Task | None]) -> Generator[Answer]:
        """Yield each task's answer as it comes; ``Executor.run``."""
        queue, idle, busy = TaskQueue(tasks), list[Worker](), list[Worker]()
        try:
            while True:
                while len(busy) < self.jobs and (task := queue.take()):
                    busy.append(_take_worker(idle, task, self.jobs - len(busy)))
                    busy[-1].start(task)
                if not busy:
                    queue.check_progress()
                    return
                for worker in select.select(busy, [], [])[0]:
                    free, answer = _receive(worker, queue)
                    if free:
                        busy.remove(worker)
                        (idle.append if worker.process.is_alive() else _end)(worker)
                    if answer:
                        yield answer
        except BaseException:
            subprocesses.interrupt([worker.process for worker in busy], GRACE)
            raise
        finally:
            for worker in (*idle, *busy):
                _end(worker)


def _take_worker(idle: list[Worker], task: Task, room: int) -> Worker:
    """Return an idle worker of the task's kind, else a new one; end others that take its room."""
    for worker in idle:
        if worker.kind == task.kind:
            idle.remove(worker)
            return worker
    while len(idle) >= room:
        _end(idle.pop(0))
    return Worker(task)


def _end(worker: Worker) -> None:
    worker.process.kill()


def _receive(worker: Worker, queue: TaskQueue) -> tuple[bool, Answer | None]:
    """Return whether the worker is free, and the answer of its task, None if it runs again."""
    task = worker.task
    try:
        if answer := worker.receive():
            queue.end(task)
        return answer is not None, answer
    except ProcessError as error:
        _end(worker)
        if not queue.lose(task):
            return True, lost(task, error, MAX_ATTEMPTS)
        logger.info(f"{error}; it is started again")
        return True, None
