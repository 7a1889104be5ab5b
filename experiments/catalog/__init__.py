"""What was documented: one file an experiment, found by name; plain data, no keras."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace

from experiments.harness.spec import Experiment, UserError, nearest


def names() -> list[str]:
    """Return the names of all experiments, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Experiment:
    """Return the experiment called ``name``; ``UserError`` where there is none."""
    if name not in names():
        raise UserError(f"no experiment is called {name!r}{nearest(name, names())}")
    module = importlib.import_module(f"experiments.catalog.{name}")
    return replace(module.EXPERIMENT, name=name)
