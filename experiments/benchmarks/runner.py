"""The parts of a benchmark, each returned as JSON types."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

from experiments.benchmarks import interleaving, startup_time, summary
from experiments.benchmarks.competitors import Competitor
from experiments.benchmarks.task import SavedTask
from experiments.harness.runtime import subprocesses
from experiments.harness.runtime.log import logger
from experiments.harness.spec import Arm, Scale
from experiments.harness.storage import provenance

SHARED_MEMORY = {  # several processes share an accelerator: none may take all of its memory
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}
SAVE_TASK = "experiments.benchmarks.task:save_task"
MATRIX_RATE = "experiments.benchmarks.flops:matrix_rate"


def share_accelerator_memory() -> None:
    """Set ``SHARED_MEMORY`` for the processes started from now on."""
    for name, value in SHARED_MEMORY.items():
        os.environ.setdefault(name, value)


def measure_machine(backends: Sequence[str]) -> dict[str, Any]:
    """Return each backend's environment and rate of matrix products, and the code's commit.

    Rates are float32 operations per second, at the backend's default precision.
    """
    environments, matrix_rates = {}, {}
    for backend in backends:
        measured = subprocesses.call(MATRIX_RATE, {}, backend=backend, start={})
        environments[backend], matrix_rates[backend] = measured["environment"], measured["rate"]
        logger.info(f"{backend}: matrix products at {measured['rate'] / 1e9:.0f} GFLOP/s")
    return {
        "device": environments[backends[0]]["device"],
        "environments": environments,
        "matrix_rates": matrix_rates,
        "commit": provenance.commit(),
    }


def measure_startup(
    arm_id: str, scale: Scale, arm: Arm, backend: str, source: str, repeats: int
) -> dict[str, Any]:
    """Return the start-up times on the backend (``startup_time.measure``)."""
    seconds = startup_time.measure(arm_id, scale, arm, backend, source, repeats)
    logger.info(f"{backend}: first training step after {seconds['harness']:.1f} s")
    return {"startup": {"backend": backend, **seconds}}


def benchmark_network(
    arm: Arm, competitors: Sequence[Competitor], source: str, rounds: int, one_at_a_time: bool
) -> dict[str, Any]:
    """Return the time of each competitor's rounds of the arm, and rates and ratios from them.

    ``one_at_a_time`` runs each round in a new process, without any other beside it.
    """
    run = interleaving.run_one_at_a_time if one_at_a_time else interleaving.run_interleaved
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
        task = SavedTask(arm.identity(), source, folder)
        arguments = {"arm": task.arm, "folder": folder}
        size = subprocesses.call(SAVE_TASK, arguments, backend=competitors[0].backend, start={})
        results = run(competitors, task, rounds)
    return {
        "batch_size": arm.batch_size,
        "steps": arm.steps,
        "test_examples": arm.test_examples,
        **size,
        "backends": {competitor.name: competitor.backend for competitor in competitors},
        "seconds": {name: summary.seconds(rounds) for name, rounds in results.items()},
        "memory": {name: rounds[-1].memory for name, rounds in results.items()},
        "summary": summary.summarize(results, arm.batch_size * arm.steps),
    }
