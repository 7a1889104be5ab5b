"""An experiment's runs and verdicts as JSON types: what ``--json`` prints and records keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from experiments.harness.spec import Experiment, Run, Verdict


def summary(
    experiment: Experiment, runs: Sequence[Run], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """Return everything that was measured and judged; a value not finite becomes its name."""
    first = runs[0]
    told = {
        "experiment": experiment.name,
        "document": experiment.document,
        "scale": first.scale,
        "dataset": first.dataset,
        "environment": first.environment,
        "claims": [_claim(verdict, first) for verdict in verdicts],
        "runs": [_run(run) for run in runs],
    }
    return _finite(told)


def _claim(verdict: Verdict, run: Run) -> dict[str, Any]:
    claim = verdict.claim
    return {
        "claim": claim.text,
        "where": claim.where,
        "documented": claim.documented,
        "bounds": claim.bounds_at(run.scale),
        "values": {str(seed): value for seed, value in verdict.values.items()},
        "verdict": verdict.outcome,
        "note": verdict.note,
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "arm": run.arm_name,
        "role": run.arm.role,
        "identity": run.arm.identity(),
        "seed": run.seed,
        "changes": run.changes,
        "status": run.status,
        "intervals": run.intervals,
        "fingerprint": run.fingerprint,
        "started": run.started,
        "seconds": round(run.seconds, 3),
        "commit": run.commit,
        "history": {name: [_short(v) for v in values] for name, values in run.history.items()},
    }


def _short(value: float) -> float:
    """Return the shortest number that is the same float32, which is what Keras's metrics are."""
    return float(str(np.float32(value)))


def _finite(value: Any) -> Any:
    """Return ``value`` with NaN and the infinities, which JSON lacks, as strings."""
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
