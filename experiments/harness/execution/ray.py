"""Tasks on the nodes of a Ray cluster: each starts a clean process there and relays its answer.

Ray sets variables that decide bits (``OMP_NUM_THREADS``), so no task depends on Ray's own workers.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments.harness.execution.task import Answer, Source, Task, lost
from experiments.harness.runtime import env_vars, signals
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, UserError, identity

NOT_SHARED = "it does not see the log directory under the same path; share it, or use --shard"
POLL_INTERVAL = 0.5  # seconds
NODES_INTERVAL = 10.0  # seconds after which nodes are listed again


class Ray:
    """An executor on the cluster at ``address`` (``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``).

    ``jobs`` tasks run at a time on each node, or one on each GPU. A node whose environment differs
    is named once and gets no more tasks. A task whose node or process dies is given out again.
    """

    def __init__(self, address: str, jobs: int) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--cluster needs Ray: pip install 'rerun-zoo[cluster]'") from None
        self.ray, self.jobs, self.address = ray, jobs, address
        try:
            context = ray.init(address, logging_level="ERROR", log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"no Ray cluster answers at {address}: {reason}") from None
        self.dashboard = getattr(context, "dashboard_url", "")

    def __str__(self) -> str:
        seen = f" (http://{self.dashboard})" if self.dashboard else ""
        return f"{self.jobs} at a time on each node of the Ray cluster{seen}"

    def run(self, tasks: Iterable[Task | None]) -> Generator[Answer]:
        """Yield each task's answer as it comes; ``Executor.run``."""
        ray, source = self.ray, Source(tasks)
        nodes, messages = Nodes(ray, self.jobs), _message_actor(ray)
        running: dict[Any, tuple[Task, str]] = {}
        tokens: list[Path] = []  # a file that every node must see
        try:
            while True:
                while (node := nodes.free(running)) and (task := source.take()):
                    tokens = tokens or _write_token(task)
                    token = tokens[0] if tokens else None
                    reference = _submit(ray, task, node, messages, token)
                    running[reference] = task, node
                if not running:
                    source.check_progress()
                    return
                ready, _ = ray.wait([*running], timeout=POLL_INTERVAL)
                signals.raise_if_interrupted()
                _relay(ray.get(messages.take.remote()))
                for reference in ready:
                    task, node = running.pop(reference)
                    if answer := _answer(ray, reference, task, node, source, nodes):
                        yield answer
        except ray.exceptions.RayError as error:  # not of a task: this machine's node, say
            reason = type(error).__name__
            raise ProcessError(f"the Ray cluster failed ({reason}); run again to resume") from None
        finally:
            with suppress(ray.exceptions.RayError):
                for reference in running:
                    ray.cancel(reference, force=True)
                ray.kill(messages)
            for token in tokens:
                token.unlink(missing_ok=True)


def _write_token(task: Task) -> list[Path]:
    """Write a file beside the first directory of a task; none if it has no directories."""
    for directory in task.directories[:1]:
        directory.parent.mkdir(parents=True, exist_ok=True)
        token = directory.parent / f".{secrets.token_hex(8)}"
        token.touch()
        return [token]
    return []


class Nodes:
    """The nodes that tasks can be given to."""

    def __init__(self, ray: Any, jobs: int) -> None:
        self.ray, self.jobs = ray, jobs
        self.slots: dict[str, int] = {}  # how many tasks each node takes at a time
        self.excluded: set[str] = set()
        self.listed = -NODES_INTERVAL

    def free(self, running: Mapping[Any, tuple[Task, str]]) -> str | None:
        """Return the node with the most room for a task; None if there is none."""
        if time.monotonic() > self.listed + NODES_INTERVAL:
            self._list()
        used = [node for _, node in running.values()]
        room = {node: slots - used.count(node) for node, slots in self.slots.items()}
        best = max(room, key=lambda node: room[node], default=None)
        return best if best and room[best] > 0 else None

    def _list(self) -> None:
        self.slots = {
            node["NodeID"]: int(node["Resources"].get("GPU", self.jobs))
            for node in self.ray.nodes()
            if node["Alive"]
            and node["Resources"].get("CPU")
            and node["NodeID"] not in self.excluded
        }
        self.listed = time.monotonic()

    def exclude(self, node: str) -> bool:
        """Give no more tasks to a node; return whether others are left."""
        self.excluded.add(node)
        self._list()
        return bool(self.slots)


def _submit(ray: Any, task: Task, node: str, messages: Any, token: Path | None) -> Any:
    """Start a task on a node; return the reference of its reply."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def carry_out(call: Any, variables: Mapping[str, str], place: Mapping[str, Any]) -> Any:
        # Pickled by value: Ray's worker finds the package only in the caller's directories.
        import os
        import sys

        if place["token"] and not os.path.exists(place["token"]):  # noqa: PTH110 (nor pathlib)
            return {"refused": None}
        sys.path += [path for path in place["path"] if path not in sys.path]
        os.chdir(place["directory"])
        from experiments.harness.execution.ray import relay_from_process

        return relay_from_process(call, variables, place, messages)

    has_gpus = (task.environment or {}).get("device", "cpu") != "cpu"
    backend = {"KERAS_BACKEND": task.backend} if task.backend else {}
    place = {
        "path": [str(Path(entry).absolute()) for entry in sys.path],
        "directory": str(Path.cwd()),
        "name": task.name,
        "seconds": task.seconds,
        "token": token and str(token.absolute()),
    }
    return (
        ray.remote(carry_out)
        .options(
            name=task.name,
            num_cpus=0,  # this process counts the tasks of a node
            num_gpus=int(has_gpus),
            max_retries=0,  # as above
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        .remote(task.call(), env_vars.deciding(env_vars.original_environ()) | backend, place)
    )


def relay_from_process(
    call: tuple[Any, ...], variables: Mapping[str, str], place: Mapping[str, Any], messages: Any
) -> dict[str, Any]:
    """Do a task in a clean process of this node; return its reply, or what it raised."""
    import os

    from experiments.harness.runtime.subprocesses import FunctionError, Process

    decided = env_vars.deciding(os.environ)
    environ = {name: text for name, text in os.environ.items() if name not in decided}
    process = Process({**environ, **variables})
    try:
        process.send(*call, name=place["name"], with_log=True)
        return process.wait(place["seconds"], lambda level, text: messages.put.remote(level, text))
    except UserError as error:
        return {"user_error": str(error)}
    except FunctionError as error:
        return {"error": str(error)}
    except ProcessError as error:
        return {"died": str(error)}
    finally:
        process.kill()


def _answer(
    ray: Any, reference: Any, task: Task, node: str, source: Source, nodes: Nodes
) -> Answer | None:
    """Return a task's answer; None if it is given out again."""
    try:
        reply = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        reply = {"error": f"{task.name} failed on node {node[:8]}: {error.cause}"}
    except ray.exceptions.RayError as error:
        nodes.listed = -NODES_INTERVAL  # the node may be gone
        reply = {"died": f"{task.name}: {type(error).__name__} on node {node[:8]}"}
    if "died" in reply:
        if source.lose(task):
            logger.info(f"{reply['died']}; it is given out again")
            return None
        return lost(task, ProcessError(reply["died"]))
    if "refused" in reply:
        if node not in nodes.excluded:
            logger.warning(f"node {node[:8]} is left out: {_reason(task, reply['refused'])}")
        if nodes.exclude(node):
            source.refuse(task)
            return None
    source.end(task)
    if "refused" in reply and reply["refused"] is None:
        return Answer(task, "failed", error=UserError(f"no node can be used: {NOT_SHARED}"))
    if "refused" in reply:
        return Answer(task, "refused", reply["refused"])
    if "value" in reply:
        return Answer(task, "answered", reply["value"])
    if "user_error" in reply:
        return Answer(task, "failed", error=UserError(reply["user_error"]))
    return Answer(task, "failed", error=ProcessError(reply["error"]))


def _reason(task: Task, found: Mapping[str, Any] | None) -> str:
    """Return why a node is left out, which has another environment or does not see the files."""
    if found is None:
        return NOT_SHARED
    different = identity.differences(dict(task.environment or {}), found)
    shown = "; ".join(f"{name} ({was} here, {now} there)" for name, was, now in different)
    return f"its environment differs: {shown}"


def _message_actor(ray: Any) -> Any:
    """Return an actor on this node that holds the processes' messages until they are taken."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class Messages:
        def __init__(self) -> None:
            self.waiting: list[tuple[int, str]] = []

        def put(self, level: int, text: str) -> None:
            self.waiting.append((level, text))

        def take(self) -> list[tuple[int, str]]:
            taken, self.waiting = self.waiting, []
            return taken

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return ray.remote(Messages).options(num_cpus=0, scheduling_strategy=here).remote()


def _relay(messages: Iterable[tuple[int, str]]) -> None:
    from experiments.harness.runtime.subprocesses import log_here

    for level, text in messages:
        log_here(level, text)
