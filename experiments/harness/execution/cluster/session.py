"""A call of the cluster's executor: its running tasks, and the nodes' messages about them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from typing import Any

from experiments.harness.execution.cluster import remote
from experiments.harness.execution.cluster.attempt import Attempt
from experiments.harness.execution.cluster.marks import Marks
from experiments.harness.execution.cluster.nodes import ClusterStoppedError, Nodes
from experiments.harness.execution.task import Answer, ExecutorError, Task, differences, lost
from experiments.harness.execution.task_queue import MAX_ATTEMPTS, TaskQueue
from experiments.harness.runtime import signals, subprocesses
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, UserError

POLL_INTERVAL = 0.5  # seconds
MESSAGE_PATIENCE = 5.0  # seconds; messages come from this process's own node
NODE_PATIENCE = 60.0  # seconds that a cluster without nodes has to start one
GRACE = 20.0  # seconds that interrupted tasks have to save what they have, and to send it


class Session:
    """A call of ``Ray.run``. At the end of its block, tasks that still run are interrupted.

    ``snapshot`` is that of ``Ray``.
    """

    def __init__(self, ray: Any, queue: TaskQueue, nodes: Nodes, snapshot: float) -> None:
        self.ray, self.queue, self.nodes, self.snapshot = ray, queue, nodes, snapshot
        self.function, self.messages = remote.task_function(ray), remote.start_messages(ray)
        self.running: dict[Any, Attempt] = {}
        self.tried: dict[int, set[str]] = {}  # the nodes on which a task's process died
        self.marks = Marks()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None or not issubclass(kind, ClusterStoppedError):
                self._interrupt()
        finally:
            self.marks.remove()
            for attempt in self.running.values():
                attempt.locks.close()

    def answers(self) -> Generator[Answer]:
        """Yield each task's answer as it comes."""
        while True:
            while (self._free_node() or not self.running) and (task := self.queue.take()):
                node = task.node or self._choose_node(task)
                self._start(Attempt(task, node, self.nodes.unshared[node]))
            if not self.running:
                self.queue.check_progress()
                return
            ready, _ = self.ray.wait([*self.running], timeout=POLL_INTERVAL)
            signals.raise_if_interrupted()
            self._take_messages()
            for reference in ready:
                attempt = self.running.pop(reference)
                attempt.locks.close()
                if answer := self._answer(reference, attempt):
                    yield answer

    def _interrupt(self) -> None:
        """Interrupt the tasks that are running, and take what they have saved."""
        deadline, waiting = time.monotonic() + GRACE, [*self.running]
        try:
            with suppress(self.ray.exceptions.RayError):
                for reference in waiting:
                    self.ray.cancel(reference)
                while waiting and time.monotonic() < deadline:
                    _, waiting = self.ray.wait(
                        waiting, num_returns=len(waiting), timeout=POLL_INTERVAL
                    )
                    self._take_messages()
                self._take_messages()
        finally:
            with suppress(self.ray.exceptions.RayError):
                for reference in self.running:
                    self.ray.cancel(reference, force=True)
                self.ray.kill(self.messages)

    def _free_node(self, tried: Iterable[str] = ()) -> str | None:
        used = Counter(attempt.node for attempt in self.running.values())
        return self.nodes.free(used, {*tried})

    def _choose_node(self, task: Task) -> str:
        """Return a node for the task, waiting for one if the cluster has none."""
        tried, deadline = self.tried.get(id(task), ()), time.monotonic() + NODE_PATIENCE
        while not (node := self._free_node(tried)):
            if time.monotonic() > deadline:
                raise ExecutorError(
                    "no node of the Ray cluster can take a task; run again to resume"
                )
            time.sleep(POLL_INTERVAL)
            self.nodes.refresh()
        return node

    def _take_messages(self) -> None:
        """Log what the processes log, and write what nodes sent of the running tasks."""
        reference = self.messages.take.remote()
        while not self.ray.wait([reference], timeout=MESSAGE_PATIENCE)[0]:
            self.nodes.check_head()
        lines, archives = self.ray.get(reference)
        for level, text in lines:
            subprocesses.log_here(level, text)
        for attempt in self.running.values():
            if archive := archives.get(attempt.name):
                attempt.write(archive)

    def _start(self, attempt: Attempt) -> None:
        archive = attempt.pack()
        try:
            reference = self._submit(attempt, archive)
        except BaseException:
            attempt.locks.close()
            raise
        self.running[reference] = attempt

    def _submit(self, attempt: Attempt, archive: bytes | None) -> Any:
        """Send a task to its node; return the reference of its reply."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task, node = attempt.task, attempt.node
        self.nodes.task_counts[node] += 1
        on_gpu = self.nodes.has_gpu(node) and (task.environment or {}).get("device") != "cpu"
        return self.function.options(
            name=task.name,
            num_cpus=0,  # this process counts the tasks of a node
            num_gpus=int(on_gpu),
            max_retries=0,  # as above
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        ).remote(attempt.request(self.marks, self.snapshot), archive, self.messages)

    def _answer(self, reference: Any, attempt: Attempt) -> Answer | None:
        """Return a task's answer; None if it is started again."""
        task, node, reply = attempt.task, attempt.node, self._reply(reference, attempt)
        if "unshared" in reply:
            self.nodes.unshared[node] |= {*reply["unshared"]}
            self.queue.put_back(task)
            return None
        if "died" in reply:
            self.tried.setdefault(id(task), set()).add(node)
            if not self.queue.lose(task):
                del self.tried[id(task)]
                return lost(task, ProcessError(reply["died"]), MAX_ATTEMPTS)
            logger.info(f"{reply['died']}; it is started again")
            return None
        if reason := _reason_to_leave_out(task, reply):
            if self.nodes.leave_out(node, reason) and not task.node:
                self.queue.put_back(task)
                return None
            if "unusable" in reply:
                reply = {"user_error": f"no node can be used: {reason}"}
        self.queue.end(task)
        self.tried.pop(id(task), None)
        if error := _error_of(reply):
            return Answer(task, "failed", error=error)
        return Answer.of_reply(task, reply, node=node, note=attempt.note())

    def _reply(self, reference: Any, attempt: Attempt) -> Mapping[str, Any]:
        """Return a task's reply, or that its process died or its node cannot be used."""
        name, node = attempt.task.name, attempt.node[:8]
        try:
            reply: Mapping[str, Any] = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            return {"unusable": f"{name} failed on node {node}: {error.cause}"}
        except self.ray.exceptions.RayError as error:
            self.nodes.refresh()  # the node may be gone
            return {"died": f"{name}: {type(error).__name__} on node {node}"}
        return reply


def _reason_to_leave_out(task: Task, reply: Mapping[str, Any]) -> str:
    """Return why a node is to be left out, empty if it is not."""
    if "refused" in reply:
        return f"its environment differs: {differences(task, reply['refused'])}"
    return str(reply.get("unusable", ""))


def _error_of(reply: Mapping[str, Any]) -> Exception | None:
    """Return the error that a task raised, if it did."""
    if "user_error" in reply:
        return UserError(reply["user_error"])
    return ProcessError(reply["error"]) if "error" in reply else None
