"""The documented experiments: one file per experiment, found by name; plain data, no keras."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from functools import cache

from experiments.harness.spec import Experiment, UserError, nearest
from experiments.harness.spec.overrides import resolve_experiment


def names() -> list[str]:
    """Return the names of all experiments, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@cache
def load(name: str) -> Experiment:
    """Return the experiment called ``name``, its arms resolved; ``UserError`` if there is none."""
    if name not in names():
        raise UserError(f"unknown experiment {name!r}{nearest(name, names())}")
    module = importlib.import_module(f"experiments.catalog.{name}")
    return resolve_experiment(replace(module.EXPERIMENT, name=name), load)
