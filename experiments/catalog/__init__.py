"""The documented experiments: one file per experiment, found by name; plain data, no keras."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from dataclasses import replace
from functools import cache

from experiments.harness.spec import Experiment, UserError, describe_error, nearest
from experiments.harness.spec.overrides import resolve_experiment


def names() -> list[str]:
    """Return the names of all experiments, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@cache
def load(name: str) -> Experiment:
    """Return the experiment called ``name``, its arms resolved.

    Raises ``UserError`` if there is none, or if its file cannot be read as one.
    """
    if name not in names():
        raise UserError(f"unknown experiment {name!r}{nearest(name, names())}")
    try:
        module = importlib.import_module(f"experiments.catalog.{name}")
        return resolve_experiment(replace(module.EXPERIMENT, name=name), load)
    except UserError as error:
        raise UserError(f"{_path(name)}: {error}") from None
    except AttributeError as error:
        missing = error.name == "EXPERIMENT"
        reason = "it defines no EXPERIMENT" if missing else describe_error(error)
        raise UserError(f"{_path(name)}: {reason}") from None
    except Exception as error:  # the file is Python code
        raise UserError(f"{_path(name)}: {describe_error(error)}") from None


def load_all() -> tuple[list[Experiment], list[str]]:
    """Return all experiments that can be read, and a line for each file that cannot."""
    found, broken = [], []
    for name in names():
        try:
            found.append(load(name))
        except UserError as error:
            broken.append(str(error))
    return found, broken


def _path(name: str) -> str:
    spec = importlib.util.find_spec(f"experiments.catalog.{name}")
    return str(spec.origin) if spec else name
