"""Tasks on the nodes of a Ray cluster: each starts a clean process there and relays its answer.

Ray sets variables that decide bits (``OMP_NUM_THREADS``), so no task depends on Ray's own workers.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.harness.execution import ray_messages, transfer
from experiments.harness.execution.ray_nodes import ClusterStoppedError, Nodes
from experiments.harness.execution.task import Answer, Source, Task, lost
from experiments.harness.runtime import env_vars, signals
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, UserError, identity

POLL_INTERVAL = 0.5  # seconds
NODE_PATIENCE = 60.0  # seconds that a cluster without nodes has to start one
GRACE = 20.0  # seconds that interrupted tasks have to save what they have, and to send it
SNAPSHOT_INTERVAL = 60.0  # seconds after which a node without the caller's files sends new states


@dataclass
class Attempt:
    """A task given to a node, and how many bytes of its directories came back from there."""

    task: Task
    node: str
    name: str
    received: int = 0

    def note(self) -> str:
        """Return where the task's directories came from, if they were sent."""
        if not self.received:
            return ""
        size = f"{self.received / 1e6:.1f} MB" if self.received >= 1e5 else "under 0.1 MB"
        return f"{size} from node {self.node[:8]}"


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
            with signals.keep_handlers():
                context = ray.init(
                    address, logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True
                )
        except (ConnectionError, ValueError, RuntimeError) as error:
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

        lines, archives = self.ray.get(self.messages.take.remote())
        for level, text in lines:
            log_here(level, text)
        for attempt in self.running.values():
            if archive := archives.get(attempt.name):
                transfer.unpack(archive, attempt.task.directories)
                attempt.received = len(archive)

    def _submit(self, attempt: Attempt) -> Any:
        """Start a task on its node; return the reference of its reply."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task, node = attempt.task, attempt.node
        paths = [*task.directories, *task.inputs]
        archive = transfer.pack(paths, whole=True) if node in self.nodes.unshared else None
        backend = {"KERAS_BACKEND": task.backend} if task.backend else {}
        order = {
            "call": task.call(),
            "variables": env_vars.deciding(env_vars.original_environ()) | backend,
            "path": [str(Path(entry).absolute()) for entry in sys.path],
            "folder": str(Path.cwd()),
            "name": task.name,
            "seconds": task.seconds,
            "attempt": attempt.name,
            "directories": [str(path) for path in task.directories],
            "inputs": [str(path) for path in task.inputs],
            "whole": task.whole,
            "tokens": [str(self._token(path.absolute().parent)) for path in paths],
            "snapshot": self.executor.snapshot,
        }
        on_gpu = self.nodes.has_gpu(node) and (task.environment or {}).get("device") != "cpu"
        return (
            self.ray.remote(_carry_out())
            .options(
                name=task.name,
                num_cpus=0,  # this process counts the tasks of a node
                num_gpus=int(on_gpu),
                max_retries=0,  # as above
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            )
            .remote(order, archive, self.messages)
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
        if reason := _reason(task, reply):
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
            answer = Answer(task, "failed", error=_error(reply))
        self.source.end(task)
        return answer


def _carry_out() -> Any:
    """Return what a Ray worker does; it is pickled by value, for it finds the package by itself."""

    def carry_out(order: Mapping[str, Any], archive: bytes | None, messages: Any) -> Any:
        import os
        import sys

        is_shared = all(os.path.exists(token) for token in order["tokens"])  # noqa: PTH110
        if not is_shared and archive is None:
            return {"unshared": True}
        sys.path += [path for path in order["path"] if path not in sys.path]
        try:
            os.makedirs(order["folder"], exist_ok=True)  # noqa: PTH103
            os.chdir(order["folder"])
            from experiments.harness.execution import ray_worker
        except ImportError as error:
            return {"unusable": f"the package is not there under the same path: {error}"}
        except OSError as error:
            return {"unusable": f"cannot work in {order['folder']}: {error.strerror}"}
        return ray_worker.carry_out(order, None if is_shared else archive, messages)

    return carry_out


def _reason(task: Task, reply: Mapping[str, Any]) -> str:
    """Return why the node is left out, if it is."""
    if "refused" in reply:
        different = identity.differences(dict(task.environment or {}), reply["refused"])
        shown = "; ".join(f"{name} ({was} here, {now} there)" for name, was, now in different)
        return f"its environment differs: {shown}"
    return str(reply.get("unusable", ""))


def _error(reply: Mapping[str, Any]) -> Exception:
    if "user_error" in reply:
        return UserError(reply["user_error"])
    return ProcessError(reply["error"])
