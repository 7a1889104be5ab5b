"""Training planned runs as a task: one run, or the seeds of a trial."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from experiments.harness.data import sources
from experiments.harness.execution.task import Task
from experiments.harness.runtime import cpu, log
from experiments.harness.spec import Run, RunSpec, UserError
from experiments.harness.storage import run_directory
from experiments.harness.storage.run_record import arm_from_json
from experiments.harness.study import run_one
from experiments.harness.training.options import TrainOptions

FUNCTION = f"{__name__}:train"
LOCK_PATIENCE = 60.0  # seconds that the process of a lost task may still hold a run's directory

load_dataset = cache(sources.load)


def task(
    specs: Sequence[RunSpec],
    logdir: Path,
    source: str,
    options: TrainOptions,
    function: str = FUNCTION,
    **arguments: Any,
) -> Task:
    """Return the task of training runs that share their data, which is loaded from ``source``.

    ``function`` takes these as keywords, and further ``arguments``.
    """
    environment = specs[0].environment
    return Task(
        function,
        {
            "specs": [spec_to_json(spec) for spec in specs],
            "logdir": str(logdir),
            "source": source,
            "options": _options_to_json(options),
            **arguments,
        },
        name=f"{specs[0].arm_id}, seed {specs[0].seed}",
        directories=tuple(run_directory.directory_of(spec, logdir) for spec in specs),
        backend=environment["backend"],
        start={
            "deterministic": environment.get("deterministic", True),
            "portable": cpu.is_portable(environment),
        },
        environment=environment,
    )


def train(
    specs: Sequence[Mapping[str, Any]], logdir: str, source: str, options: Mapping[str, Any]
) -> None:
    """Train or load the runs of a task; what becomes of them is in their directories."""
    for spec in map(spec_from_json, specs):
        with log.prefixed(f"{spec.arm_id}, seed {spec.seed}: "):
            train_when_free(spec, Path(logdir), source, options)


def train_when_free(spec: RunSpec, logdir: Path, source: str, options: Mapping[str, Any]) -> Run:
    """Train or load a run, waiting while the process of a lost task still holds its directory."""
    dataset, _ = load_dataset(spec.arm.dataset, source)
    return run_one.train_or_load(
        spec, logdir, dataset, _options_from_json(options), patience=LOCK_PATIENCE
    )


def spec_to_json(spec: RunSpec) -> dict[str, Any]:
    """Return a planned run as JSON types; ``UserError`` if its overrides are not."""
    payload = json.loads(json.dumps(asdict(spec)))
    if run_directory.directory_of(spec_from_json(payload), Path()) != run_directory.directory_of(
        spec, Path()
    ):
        raise UserError("overrides must be JSON types, such as lists instead of tuples")
    return payload


def spec_from_json(payload: Mapping[str, Any]) -> RunSpec:
    """Return the planned run in a JSON object."""
    return RunSpec(**{**payload, "arm": arm_from_json(payload["arm"])})


def _options_to_json(options: TrainOptions) -> dict[str, Any]:
    """Return the options that a task can have.

    The deadline is a wall-clock time: the clocks of all nodes must agree.
    """
    left = options.deadline - time.monotonic()
    return {
        "stop_after": options.stop_after,
        "deadline": time.time() + left if left < math.inf else None,
        "telemetry_every": options.telemetry_every,
    }


def _options_from_json(payload: Mapping[str, Any]) -> TrainOptions:
    if (deadline := payload["deadline"]) is None:
        return TrainOptions(**{**payload, "deadline": math.inf})
    return TrainOptions(**{**payload, "deadline": time.monotonic() + deadline - time.time()})
