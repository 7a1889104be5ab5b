"""Tasks on the nodes of a Ray cluster: each starts a clean process there and relays its answer.

Ray sets variables that decide bits (``OMP_NUM_THREADS``), so no task depends on Ray's own workers.
"""

from __future__ import annotations

import logging
import secrets
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.harness.execution.cluster import remote
from experiments.harness.execution.cluster.nodes import ClusterStoppedError, Nodes, reach
from experiments.harness.execution.task import Answer, ExecutorError, Task, differences, lost
from experiments.harness.execution.task_queue import MAX_ATTEMPTS, TaskQueue
from experiments.harness.runtime import env_vars, filesystem, signals, subprocesses
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, UserError
from experiments.harness.storage import transfer

POLL_INTERVAL = 0.5  # seconds
MESSAGE_PATIENCE = 5.0  # seconds; messages come from this process's own node
NODE_PATIENCE = 60.0  # seconds that a cluster without nodes has to start one
GRACE = 20.0  # seconds that interrupted tasks have to save what they have, and to send it
SNAPSHOT_INTERVAL = 60.0  # seconds after which a node without the caller's files sends new states


class Ray:
    """An executor on the cluster at ``address`` (``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``).

    ``jobs`` tasks run at a time on each node, or one on each GPU. A node that does not see the
    caller's directories gets copies of them; new states come back every ``snapshot`` seconds. A
    node whose environment differs, or that cannot run tasks at all, is named once and left out. A
    task whose node or process dies is started again.
    """

    def __init__(self, address: str, jobs: int, snapshot: float = SNAPSHOT_INTERVAL) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--cluster needs Ray: pip install 'rerun-zoo[cluster]'") from None
        self.ray, self.jobs, self.snapshot = ray, jobs, snapshot
        try:
            if ":" in (host := address.removeprefix("ray://")):
                reach(host)  # else Ray takes minutes to say so
            with signals.keep_handlers():
                context = ray.init(
                    address,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    ignore_reinit_error=True,
                )
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"no Ray cluster answers at {address}: {reason}") from None
        self.dashboard = getattr(context, "dashboard_url", "")
        is_client = address.startswith("ray://")
        self.nodes = Nodes(ray, jobs, "" if is_client else ray.get_runtime_context().gcs_address)
        self.function = remote.task_function(ray)

    def __str__(self) -> str:
        seen = f" (http://{self.dashboard})" if self.dashboard else ""
        return f"{self.jobs} at a time on each node of the Ray cluster{seen}"

    def run(self, tasks: Iterable[Task | None]) -> Generator[Answer]:
        """Yield each task's answer as it comes; ``Executor.run``."""
        try:
            with Session(self, TaskQueue(tasks)) as session:
                yield from session.answers()
        except BrokenPipeError:  # of this process's output
            raise
        except (self.ray.exceptions.RayError, ConnectionError) as error:  # not of a task
            reason = type(error).__name__
            raise ExecutorError(f"the Ray cluster failed ({reason}); run again to resume") from None


@dataclass
class Attempt:
    """A task given to a node.

    ``directories`` are those of the task's of which the node has copies, ``known`` the files in
    them that were sent or came back last, ``locks`` those of this process's directories, and
    ``received`` the bytes that came back.
    """

    task: Task
    node: str
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    directories: list[Path] = field(default_factory=list)
    known: list[transfer.Content] = field(default_factory=list)
    locks: ExitStack = field(default_factory=ExitStack)
    received: int = 0

    def note(self) -> str:
        """Return where the task's directories came from, if they were sent."""
        if not self.received:
            return ""
        size = f"{self.received / 1e6:.1f} MB" if self.received >= 1e5 else "under 0.1 MB"
        return f"{size} from node {self.node[:8]}"


class Session:
    """A call of ``Ray.run``: the tasks that are running, and what nodes say of them.

    At the end of its block, tasks that still run are interrupted.
    """

    def __init__(self, executor: Ray, queue: TaskQueue) -> None:
        self.executor, self.queue = executor, queue
        self.ray, self.nodes = executor.ray, executor.nodes
        self.messages = remote.start_messages(executor.ray)
        self.running: dict[Any, Attempt] = {}
        self.tried: dict[int, set[str]] = {}  # the nodes on which a task's process died
        self.tokens: dict[Path, Path] = {}  # files that a node sees if it shares these folders

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None or not issubclass(kind, ClusterStoppedError):
                self._interrupt()
        finally:
            for token in self.tokens.values():
                token.unlink(missing_ok=True)
            for attempt in self.running.values():
                attempt.locks.close()

    def answers(self) -> Generator[Answer]:
        """Yield each task's answer as it comes."""
        while True:
            while (self._free_node() or not self.running) and (task := self.queue.take()):
                attempt = Attempt(task, task.node or self._choose_node(task))
                self.nodes.task_counts[attempt.node] += 1
                self.running[self._submit(attempt)] = attempt
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
                self._write(archive, attempt)

    def _write(self, archive: bytes, attempt: Attempt) -> None:
        """Write what a node sent of a task's directories."""
        contents = transfer.read(archive, len(attempt.directories))
        for path, content, known in zip(attempt.directories, contents, attempt.known, strict=True):
            transfer.write(path, content, known)
        attempt.known = contents
        attempt.received += len(archive)

    def _submit(self, attempt: Attempt) -> Any:
        """Start a task on its node; return the reference of its reply."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task, node, archive = attempt.task, attempt.node, None
        marks = [
            *(self._mark_of_directory(path) for path in task.directories),
            *map(_mark_of_input, task.inputs),
        ]
        unshared = self.nodes.unshared[node]
        attempt.directories = [path for path in task.directories if _shared_by(path) in unshared]
        inputs = [path for path in task.inputs if str(path) in unshared]
        if attempt.directories or inputs:
            for path in attempt.directories:
                attempt.locks.enter_context(filesystem.lock_directory(path))
            archive = transfer.pack([*attempt.directories, *inputs])
            count = len(attempt.directories) + len(inputs)
            attempt.known = transfer.read(archive, count)[: len(attempt.directories)]
        request = {
            "call": task.call(),
            "variables": env_vars.bit_changing(env_vars.original_environ()) | task.variables,
            "path": [str(Path(entry).absolute()) for entry in sys.path],
            "folder": str(Path.cwd()),
            "name": task.name,
            "attempt": attempt.name,
            "directories": [str(path) for path in attempt.directories],
            "inputs": [str(path) for path in inputs],
            "all_checkpoints": task.all_checkpoints,
            "marks": [mark for mark in marks if mark["path"] not in unshared],
            "snapshot": self.executor.snapshot,
        }
        on_gpu = self.nodes.has_gpu(node) and (task.environment or {}).get("device") != "cpu"
        return self.executor.function.options(
            name=task.name,
            num_cpus=0,  # this process counts the tasks of a node
            num_gpus=int(on_gpu),
            max_retries=0,  # as above
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        ).remote(request, archive, self.messages)

    def _mark_of_directory(self, directory: Path) -> dict[str, Any]:
        """Return a new file beside a directory: a node sees it if it shares their folder."""
        folder = directory.absolute().parent
        if folder not in self.tokens:
            folder.mkdir(parents=True, exist_ok=True)
            self.tokens[folder] = folder / f".{secrets.token_hex(8)}"
            self.tokens[folder].touch()
        return {"path": _shared_by(directory), "file": str(self.tokens[folder]), "stat": None}

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


def _shared_by(directory: Path) -> str:
    """Return the folder that a node has to share to see a directory."""
    return str(directory.absolute().parent)


def _mark_of_input(path: Path) -> dict[str, Any]:
    """Return a file of an input, with its size and time: a node sees it if it shares the input."""
    file = min((each for each in path.rglob("*") if each.is_file()), default=path)
    found = file.stat()
    stat = None if file == path else [found.st_size, found.st_mtime_ns]
    return {"path": str(path), "file": str(file.absolute()), "stat": stat}


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
