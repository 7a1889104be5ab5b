"""A benchmark from its beginning to what it came to, as JSON types."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

from experiments.benchmarks import interleaving, startup_time, summary
from experiments.benchmarks.competitors import Competitor
from experiments.harness.runtime import subprocesses
from experiments.harness.runtime.log import logger
from experiments.harness.spec import Arm, Scale
from experiments.harness.storage import provenance

SHARED = {  # several processes on one accelerator: none may take all of its memory
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}
SAVE_TASK = "experiments.benchmarks.task:save_task"
MATRIX_RATE = "experiments.benchmarks.flops:matrix_rate"


def measure_machine(backends: Sequence[str]) -> dict[str, Any]:
    """Return the environment on each backend, its rate of matrix products, and the code's commit.

    Rates are operations a second, in float32 as the backend does it by default. From then on this
    process's children share an accelerator's memory (``SHARED``).
    """
    for name, value in SHARED.items():
        os.environ.setdefault(name, value)
    environments, matrix_rates = {}, {}
    for backend in backends:
        found = subprocesses.call(MATRIX_RATE, {}, backend=backend, start={})
        environments[backend], matrix_rates[backend] = found["environment"], found["rate"]
        logger.info(f"{backend}: matrix products at {found['rate'] / 1e9:.0f} GFLOP/s")
    return {
        "device": environments[backends[0]]["device"],
        "environments": environments,
        "matrix_rates": matrix_rates,
        "commit": provenance.commit(),
    }


def measure_startup(
    home: str, scale: Scale, arm: Arm, backend: str, source: str, times: int
) -> dict[str, Any]:
    """Return the start-up times on the backend (``startup.seconds``)."""
    told = startup_time.seconds(backend, arm, home, scale, source, times)
    logger.info(f"{backend}: first training step after {told['harness']:.1f} s")
    return {"startup": {"backend": backend, **told}}


def benchmark_network(
    arm: Arm, peers: Sequence[Competitor], source: str, rounds: int, apart: bool
) -> dict[str, Any]:
    """Return how fast each peer trains the arm: what each round took, and what follows from that.

    With ``apart`` one process is at work at a time, begun anew for each round.
    """
    hold = interleaving.run_one_at_a_time if apart else interleaving.run_interleaved
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
        told = {"arm": arm.identity(), "folder": folder}
        size = subprocesses.call(SAVE_TASK, told, backend=peers[0].backend, start={})
        taken = hold(peers, told | {"source": source}, rounds)
    backends = {peer.name: peer.backend for peer in peers}
    facts = ("batch_size", "steps", "test_examples")
    return {
        **{name: getattr(arm, name) for name in facts},
        **size,
        "backends": backends,
        "seconds": {name: summary.columns(rounds) for name, rounds in taken.items()},
        "memory": {name: rounds[-1]["memory"] for name, rounds in taken.items()},
        "summary": summary.summary(taken, arm.batch_size * arm.steps),
    }
