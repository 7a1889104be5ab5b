"""The result of a study: DataFrames for notebooks, JSON types for ``--json`` and records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.harness.reporting import tables
from experiments.harness.spec import Experiment, Run, Verdict
from experiments.harness.spec.claim import FAILED

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """An experiment's runs and the verdicts on its claims. ``str`` gives the verdicts as a table.

    ``picture`` is a PNG of the documented points over the measured curves.
    """

    experiment: Experiment
    runs: Sequence[Run]
    judged: Sequence[Verdict]
    logdir: Path
    picture: Path

    @property
    def histories(self) -> dict[tuple[str, int], pd.DataFrame]:
        """The histories by arm and seed: one row per interval, from 1; one column per metric."""
        import pandas as pd

        return {
            (self.experiment.name_of(run.spec), run.spec.seed): pd.DataFrame(
                dict(run.history), index=pd.RangeIndex(1, run.intervals + 1, name="interval")
            )
            for run in self.runs
        }

    @property
    def verdicts(self) -> pd.DataFrame:
        """One row per claim: what is documented, the bounds, the values by seed, the verdict."""
        import pandas as pd

        index = pd.Index([f"C{number}" for number in range(1, len(self.judged) + 1)])
        return pd.DataFrame(self.summary()["claims"], index=index)

    def summary(self) -> dict[str, Any]:
        """Return the result as JSON types."""
        return summary(self.experiment, self.runs, self.judged)

    def __str__(self) -> str:
        return tables.verdicts(self.summary()["claims"])


def summary(
    experiment: Experiment, runs: Sequence[Run], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """Return everything that was measured and judged as JSON types (``json_safe``)."""
    first = runs[0]
    payload = {
        "experiment": experiment.name,
        "title": experiment.title,
        "question": experiment.question,
        "document": experiment.document,
        "scale": first.spec.scale,
        "seeds": list(dict.fromkeys(run.spec.seed for run in runs)),
        "datasets": list({run.spec.dataset["sha256"]: run.spec.dataset for run in runs}.values()),
        "environment": first.spec.environment,
        "claims": [_claim(verdict, first) for verdict in verdicts],
        "printed": _reported_values(experiment, runs),
        "framework": experiment.framework,
        "deviations": experiment.deviations,
        "runs": [_run(experiment, run) for run in runs],
    }
    return json_safe(payload)


def _reported_values(experiment: Experiment, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return each value that the document prints, with those measured at the same interval."""
    return [
        {
            "arm": arm,
            "interval": interval,
            "column": column,
            "documented": documented,
            "measured": [
                _shortest(run.history[column][interval - 1])
                for run in runs
                if experiment.name_of(run.spec) == arm
                and run.intervals >= interval
                and column in run.history
            ],
        }
        for arm, reported in experiment.documented.items()
        for interval, row in reported.rows.items()
        for column, documented in zip(reported.columns, row, strict=True)
    ]


def _claim(verdict: Verdict, run: Run) -> dict[str, Any]:
    claim = verdict.claim
    return {
        "claim": claim.text,
        "where": claim.where,
        "documented": claim.documented,
        "bounds": claim.bounds_at(run.spec.scale),
        "values": {str(seed): _shortest(value) for seed, value in verdict.values.items()},
        "verdict": verdict.outcome,
        "note": verdict.note,
        "instead": claim.instead if verdict.outcome in FAILED else "",
    }


def _run(experiment: Experiment, run: Run) -> dict[str, Any]:
    return {
        "arm": experiment.name_of(run.spec),
        "home": run.spec.arm_id,
        "role": run.spec.arm.role,
        "identity": run.spec.arm.identity(),
        "seed": run.spec.seed,
        "changes": run.spec.overrides,
        "status": run.status,
        "intervals": run.intervals,
        "fingerprint": run.fingerprint,
        "started": run.started,
        **({"first_started": run.first_started} if run.first_started else {}),
        **({"also_started": [*run.also_started]} if run.also_started else {}),
        **({"resumed": run.resumed} if run.resumed is not None else {}),
        **({"nan_cause": run.nan_cause} if run.nan_cause else {}),
        "seconds": round(run.seconds, 3),
        **({"cpu_seconds": round(run.cpu_seconds, 3)} if run.cpu_seconds is not None else {}),
        "commit": run.commit,
        "commit_at_end": run.commit_at_end,
        "initial": {name: _shortest(value) for name, value in run.initial.items()},
        "history": {name: [_shortest(v) for v in values] for name, values in run.history.items()},
    }


def _shortest(value: float) -> float:
    """Return ``value`` with the fewest digits that give the same float32, if it is one.

    Keras's metrics are.
    """
    single = np.float32(value)
    return float(str(single)) if float(single) == value or value != value else value


def json_safe(value: Any) -> Any:
    """Return ``value`` with NaN and the infinities, which JSON lacks, as strings."""
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {key: json_safe(inner) for key, inner in value.items()}
    return [json_safe(inner) for inner in value] if isinstance(value, list | tuple) else value
