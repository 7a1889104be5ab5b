"""Tasks in processes of this machine."""

from __future__ import annotations

import select
import time
from collections.abc import Generator, Iterable, Sequence

from experiments.harness.execution.task import Answer, Source, Task, lost
from experiments.harness.runtime import env_vars, subprocesses
from experiments.harness.runtime.log import logger
from experiments.harness.runtime.subprocesses import FunctionError, Process
from experiments.harness.spec import ProcessError, UserError

GRACE = 30.0  # seconds that interrupted processes have to save what they have


class Fresh:
    """An executor that does one task after another, each in a fresh process; errors are raised."""

    def run(self, tasks: Iterable[Task | None]) -> Generator[Answer]:
        """Yield each task's answer; ``Executor.run``."""
        for task in tasks:
            if task is None:
                raise RuntimeError("a task waits for an answer, but none is due")
            value = subprocesses.call(
                task.function,
                task.arguments,
                backend=task.backend,
                start=task.start,
                timeout=task.seconds,
            )
            yield Answer(task, "answered", value)


class Worker:
    """A process for tasks of one kind, one after another."""

    def __init__(self, task: Task) -> None:
        backend = {"KERAS_BACKEND": task.backend} if task.backend else {}
        self.process = Process(env_vars.original_environ() | backend)
        self.kind, self.task, self.deadline = task.kind, task, 0.0

    def fileno(self) -> int:
        """Return the file descriptor to wait for."""
        return self.process.fileno()

    def start(self, task: Task) -> None:
        """Start a task."""
        self.task = task
        self.deadline = time.monotonic() + (task.seconds or float("inf"))
        self.process.send(*task.call(), name=task.name, with_log=True)

    def receive(self) -> Answer | None:
        """Return the task's answer if it has come; ``ProcessError`` if the process has died."""
        try:
            for reply in self.process.receive():
                if "refused" in reply:
                    return Answer(self.task, "refused", reply["refused"])
                return Answer(self.task, "answered", reply["value"])
        except (UserError, FunctionError) as error:
            return Answer(self.task, "failed", error=error)
        return None


class Local:
    """An executor with up to ``jobs`` processes at a time, kept for tasks of the same kind.

    A process that dies costs its task's time: the task is given out again, to a new process. All
    processes end with this one.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def __str__(self) -> str:
        return f"{self.jobs} at a time"

    def run(self, tasks: Iterable[Task | None]) -> Generator[Answer]:
        """Yield each task's answer as it comes; ``Executor.run``."""
        source, idle, busy = Source(tasks), list[Worker](), list[Worker]()
        try:
            while True:
                while len(busy) < self.jobs and (task := source.take()):
                    busy.append(_take_worker(idle, task, self.jobs - len(busy)))
                    busy[-1].start(task)
                if not busy:
                    source.check_progress()
                    return
                free = _answers(busy, source)
                busy = [worker for worker in busy if worker not in free]
                idle += [worker for worker in free if worker.process.is_alive()]
                yield from filter(None, free.values())
        except BaseException:
            interrupt([worker.process for worker in busy], GRACE)
            raise
        finally:
            for worker in (*idle, *busy):
                worker.process.kill()


def _take_worker(idle: list[Worker], task: Task, room: int) -> Worker:
    """Return an idle worker of the task's kind, else a new one; end others that take its room."""
    for worker in idle:
        if worker.kind == task.kind:
            idle.remove(worker)
            return worker
    while len(idle) >= room:
        idle.pop(0).process.kill()
    return Worker(task)


def _answers(busy: list[Worker], source: Source) -> dict[Worker, Answer | None]:
    """Wait for something; return the workers that are free, with the answers of their tasks.

    The answer is None if the task is given out again.
    """
    left = min(worker.deadline for worker in busy) - time.monotonic()
    ready = select.select(busy, [], [], None if left == float("inf") else max(0.0, left))[0]
    free: dict[Worker, Answer | None] = {}
    for worker in busy:
        try:
            if worker in ready and (answer := worker.receive()):
                source.end(worker.task)
                free[worker] = answer
            elif time.monotonic() > worker.deadline:
                raise ProcessError(
                    f"{worker.task.name} did not finish within {worker.task.seconds:.0f} s"
                )
        except ProcessError as error:
            worker.process.kill()
            again = source.lose(worker.task)
            if again:
                logger.info(f"{error}; it is given out again")
            free[worker] = None if again else lost(worker.task, error)
    return free


def interrupt(processes: Sequence[Process], seconds: float) -> None:
    """Interrupt the calls, and wait until the processes have saved what they have and ended."""
    for process in processes:
        process.interrupt()
    waiting, deadline = [*processes], time.monotonic() + seconds
    while waiting and time.monotonic() < deadline:
        left = max(0.0, deadline - time.monotonic())
        for process in select.select(waiting, [], [], left)[0]:
            try:
                process.receive()
            except (UserError, FunctionError):
                pass
            except ProcessError:
                waiting.remove(process)
