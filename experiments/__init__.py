"""Documented experiments, re-run exactly and judged.

``experiments.load(name)`` and ``experiments.run(name, ...)`` are what the doors and notebooks call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.harness.spec import UserError

if TYPE_CHECKING:
    from experiments.harness.result import Result
    from experiments.harness.spec import Experiment

__all__ = ["UserError", "load", "run"]


def load(name: str) -> Experiment:
    """Return the experiment called ``name``: its question, arms and claims, as data.

    Raises ``UserError`` where there is none.
    """
    from experiments import catalog

    return catalog.load(name)


def run(name: str, **options: Any) -> Result:
    """Make the runs of an experiment, or find them made, and judge its claims.

    Options, all with defaults: ``scale`` (``"mini"``, ``"full"``), ``arms``, ``seeds``, ``data``,
    ``logdir``, ``changes``, ``intervals``, ``fresh``, ``deterministic``, ``verbose``, ``tell``; see
    ``experiments.harness.study.carry_out``. Call it before anything imports keras: it makes the
    process deterministic first. Raises ``UserError`` for whatever you can mend.
    """
    from experiments.harness import study

    return study.carry_out(load(name), **options)
