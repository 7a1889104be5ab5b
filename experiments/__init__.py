"""Documented experiments, re-run exactly and judged.

``experiments.load(name)`` and ``experiments.run(name, ...)`` are what the doors and notebooks call.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.harness.spec import UserError

if TYPE_CHECKING:
    from experiments.harness.reporting.result import Result
    from experiments.harness.spec import Experiment

__all__ = ["UserError", "load", "run"]


def load(name: str) -> Experiment:
    """Return the experiment called ``name``: its question, arms and claims, as data.

    Raises ``UserError`` where there is none.
    """
    from experiments import catalog

    return catalog.load(name)


def run(
    name: str,
    *,
    logdir: Path | str = "logs",
    intervals: int | None = None,
    fresh: bool = False,
    jobs: int = 1,
    telemetry: int | None = None,
    verbose: int = 0,
    tell: Callable[[str], None] = print,
    **chosen: Any,
) -> Result:
    """Make the runs of an experiment, or find them made, and judge its claims.

    ``chosen``, all with defaults, are ``scale`` (``"mini"``, ``"full"``), ``arms``, ``seeds``,
    ``data``, ``changes``, ``deterministic`` and ``together``
    (``experiments.harness.study.prepare``); the other options are those of
    ``experiments.harness.study.carry_out``. Call it before anything imports keras: it makes the
    process deterministic first. Raises ``UserError`` for whatever you can mend.
    """
    from experiments.harness.study import execute, plan

    (result,) = execute.run_studies(
        [plan.plan_study(load(name), **chosen)],
        Path(logdir),
        intervals=intervals,
        fresh=fresh,
        jobs=jobs,
        telemetry=telemetry,
        verbose=verbose,
        tell=tell,
    )
    return result
