"""Tasks on the nodes of a Ray cluster: each starts a clean process there and relays its answer.

Ray sets variables that decide bits (``OMP_NUM_THREADS``), so no task depends on Ray's own workers.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments.harness.execution import ray_attempt, ray_messages, transfer
from experiments.harness.execution.ray_attempt import Attempt
from experiments.harness.execution.ray_nodes import ClusterStoppedError, Nodes, reach
from experiments.harness.execution.task import Answer, Source, Task, lost
from experiments.harness.runtime import signals
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, UserError

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
    task whose node or process dies is given out again.
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
                    address, logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True
                )
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"no Ray cluster answers at {address}: {reason}") from None
        self.dashboard = getattr(context, "dashboard_url", "")
        is_client = address.startswith("ray://")
        self.nodes = Nodes(ray, jobs, "" if is_client else ray.get_runtime_context().gcs_address)

    def __str__(self) -> str:
        seen = f" (http://{self.dashboard})" if self.dashboard else ""
        return f"{self.jobs} at a time on each node of the Ray cluster{seen}"

    def run(self, tasks: Iterable[Task | None]) -> Generator[Answer]:
        """Yield each task's answer as it comes; ``Executor.run``."""
        try:
            call = Run(self, Source(tasks))
            try:
                yield from call.answers()
            except ClusterStoppedError:
                call.remove_tokens()
                raise
            except BaseException:
                call.stop()
                raise
            call.stop()
        except (self.ray.exceptions.RayError, ConnectionError) as error:  # not of a task
            reason = type(error).__name__
            raise ProcessError(f"the Ray cluster failed ({reason}); run again to resume") from None


class Run:
    """A call of ``Ray.run``: the tasks that are running, and what nodes say of them."""

    def __init__(self, executor: Ray, source: Source) -> None:
        self.executor, self.source = executor, source
        self.ray, self.nodes = executor.ray, executor.nodes
        self.messages = ray_messages.start(executor.ray)
        self.running: dict[Any, Attempt] = {}
        self.tokens: dict[Path, Path] = {}  # files that a node sees if it shares these folders

    def answers(self) -> Generator[Answer]:
        """Yield each task's answer as it comes."""
        while True:
            while (self._free_node() or not self.running) and (task := self.source.take()):
                node = self._free_node() or self._wait_for_node()
                self.nodes.given[node] += 1
                attempt = Attempt(task, node, secrets.token_hex(8))
                self.running[self._submit(attempt)] = attempt
            if not self.running:
                self.source.check_progress()
                return
            ready, _ = self.ray.wait([*self.running], timeout=POLL_INTERVAL)
            signals.raise_if_interrupted()
            self._take_messages()
            for reference in ready:
                if answer := self._answer(reference, self.running.pop(reference)):
                    yield answer

    def stop(self) -> None:
        """Interrupt the tasks that are running, and take what they have saved."""
        deadline = time.monotonic() + GRACE
        try:
            with suppress(self.ray.exceptions.RayError):
                for reference in self.running:
                    self.ray.cancel(reference)
                waiting = [*self.running]
                while waiting and time.monotonic() < deadline:
                    _, waiting = self.ray.wait(
                        waiting, num_returns=len(waiting), timeout=POLL_INTERVAL
                    )
                    self._take_messages()
        finally:
            self.remove_tokens()
            with suppress(self.ray.exceptions.RayError):
                for reference in self.running:
                    self.ray.cancel(reference, force=True)
                self.ray.kill(self.messages)

    def remove_tokens(self) -> None:
        """Delete the files that showed which nodes share folders."""
        for token in self.tokens.values():
            token.unlink(missing_ok=True)

    def _free_node(self) -> str | None:
        return self.nodes.free([attempt.node for attempt in self.running.values()])

    def _wait_for_node(self) -> str:
        deadline = time.monotonic() + NODE_PATIENCE
        while time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL)
            self.nodes.forget()
            if node := self._free_node():
                return node
        raise ProcessError("no node of the Ray cluster has a processor; run again to resume")

    def _take_messages(self) -> None:
        """Log what the processes log, and write what nodes sent of the running tasks."""
        from experiments.harness.runtime.subprocesses import log_here

        reference = self.messages.take.remote()
        while not self.ray.wait([reference], timeout=MESSAGE_PATIENCE)[0]:
            self.nodes.check_head()
        lines, archives = self.ray.get(reference)
        for level, text in lines:
            log_here(level, text)
        for attempt in self.running.values():
            if archive := archives.get(attempt.name):
                transfer.unpack(archive, attempt.task.directories)
                attempt.received = len(archive)

    def _submit(self, attempt: Attempt) -> Any:
        """Start a task on its node; return the reference of its reply."""
        task, node = attempt.task, attempt.node
        paths = [*task.directories, *task.inputs]
        return ray_attempt.submit(
            self.ray,
            attempt,
            archive=transfer.pack(paths) if node in self.nodes.unshared else None,
            tokens=[self._token(path.absolute().parent) for path in paths],
            snapshot=self.executor.snapshot,
            on_gpu=self.nodes.has_gpu(node),
            messages=self.messages,
        )

    def _token(self, folder: Path) -> Path:
        """Return a file in the folder, which a node sees only if it shares the folder."""
        if folder not in self.tokens:
            folder.mkdir(parents=True, exist_ok=True)
            self.tokens[folder] = folder / f".{secrets.token_hex(8)}"
            self.tokens[folder].touch()
        return self.tokens[folder]

    def _answer(self, reference: Any, attempt: Attempt) -> Answer | None:
        """Return a task's answer; None if it is given out again."""
        task, node = attempt.task, attempt.node
        try:
            reply = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            reply = {"error": f"{task.name} failed on node {node[:8]}: {error.cause}"}
        except self.ray.exceptions.RayError as error:
            self.nodes.forget()  # the node may be gone
            reply = {"died": f"{task.name}: {type(error).__name__} on node {node[:8]}"}
        if "unshared" in reply:
            self.nodes.unshared.add(node)
            self.source.refuse(task)
            return None
        if "died" in reply:
            if not self.source.lose(task):
                return lost(task, ProcessError(reply["died"]))
            logger.info(f"{reply['died']}; it is given out again")
            return None
        if reason := ray_attempt.reason_to_leave_out(task, reply):
            if self.nodes.leave_out(node, reason):
                self.source.refuse(task)
                return None
            unusable = UserError(f"no node can be used: {reason}")
            answer = Answer(task, "failed", error=unusable)
            if "refused" in reply:
                answer = Answer(task, "refused", reply["refused"])
        elif "value" in reply:
            answer = Answer(task, "answered", reply["value"], note=attempt.note())
        else:
            answer = Answer(task, "failed", error=ray_attempt.error_of(reply))
        self.source.end(task)
        return answer
