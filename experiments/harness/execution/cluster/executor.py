"""Tasks on the nodes of a Ray cluster: each starts a clean process there and relays its answer.

Ray sets variables that decide bits (``OMP_NUM_THREADS``), so no task depends on Ray's own workers.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable

from experiments.harness.execution.cluster.nodes import Nodes, reach
from experiments.harness.execution.cluster.session import Session
from experiments.harness.execution.task import Answer, ExecutorError, Task
from experiments.harness.execution.task_queue import TaskQueue
from experiments.harness.runtime import signals
from experiments.harness.spec import UserError

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

    def __str__(self) -> str:
        seen = f" (http://{self.dashboard})" if self.dashboard else ""
        return f"{self.jobs} at a time on each node of the Ray cluster{seen}"

    def run(self, tasks: Iterable[Task | None]) -> Generator[Answer]:
        """Yield each task's answer as it comes; ``Executor.run``."""
        try:
            with Session(self.ray, TaskQueue(tasks), self.nodes, self.snapshot) as session:
                yield from session.answers()
        except BrokenPipeError:  # of this process's output
            raise
        except (self.ray.exceptions.RayError, ConnectionError) as error:  # not of a task
            reason = type(error).__name__
            raise ExecutorError(f"the Ray cluster failed ({reason}); run again to resume") from None
