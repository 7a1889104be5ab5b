"""Plan runs of any experiment for a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from experiments import catalog
from experiments.harness.spec import RunSpec
from experiments.harness.study.plan import StudyRequest, plan_study

NO_DATA = SimpleNamespace(identity=lambda: {"name": "none", "sha256": "0", "stand_in": True})


def plan_specs(
    experiment: str,
    arms: Sequence[str],
    seeds: Sequence[int],
    overrides: Mapping[str, Any],
    environment: Mapping[str, Any],
    dataset: Any = NO_DATA,
) -> list[RunSpec]:
    """Return the planned runs at scale ``mini``, on ``dataset``, seed by seed."""
    request = StudyRequest(catalog.load(experiment), "mini", arms, seeds, overrides=overrides)
    return [*plan_study(request, environment, lambda *_: (dataset, None)).specs]
