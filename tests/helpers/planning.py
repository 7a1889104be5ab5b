"""Plan runs of any experiment for a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from experiments import catalog
from experiments.harness.spec import Experiment, RunSpec
from experiments.harness.spec.overrides import override
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


def shrink_miniatures(patch: pytest.MonkeyPatch, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Make miniatures smaller still in the catalogue of this process: ``changes`` by network."""
    load = catalog.load
    for name in catalog.names():
        load(name)  # caches them: none may be completed from smaller ones

    def load_smaller(name: str) -> Experiment:
        experiment = load(name)
        mini = {
            name: override(arm, changes.get(arm.network["class_name"], {}))
            for name, arm in experiment.at["mini"].items()
        }
        return replace(experiment, at={**experiment.at, "mini": mini})

    patch.setattr(catalog, "load", load_smaller)
