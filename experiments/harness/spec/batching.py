"""Which runs can be trained together, as one program. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from experiments.harness.spec.errors import UserError
from experiments.harness.spec.run import Run

BACKEND = "jax"  # whose transformations make many trainings of one
FIELD = "together"  # of the environment of a run that was trained so
IN_TURN = "in turn"
NUMBER = r"[1-9][0-9]{0,3}"  # of runs at once: what more would be is no memory's matter


def group_runs(runs: Sequence[Run], most: int) -> list[list[Run]]:
    """Return the groups of two runs or more that are trained together, ``most`` at most.

    All that can be where 0. Each run's environment then says how: on an accelerator its place and
    how many there are (``2 of 27``), as both may decide bits; on a CPU neither does. Raises
    ``UserError`` where there is no group, and for 1, a truth value, or less than 0 as ``most``.
    """
    environment = runs[0].environment
    check_backend(environment["backend"])
    if isinstance(most, bool) or most == 1 or most < 0:
        raise UserError(f"together must be 2 or more, or 0 for all at once, not {most}")
    several = [
        part for group in compatible_groups(runs) for part in _parts(group, most) if len(part) > 1
    ]
    if len(runs) < 2:
        raise UserError("one run cannot be trained together with others; choose more seeds or arms")
    if not several:
        raise UserError(
            "no two of these runs can be trained together: they differ in more than initial "
            "values, seeds, learning rates and schedules"
        )
    at_once = environment["device"] != "cpu"
    return [
        [
            mark_batched(run, f"{place} of {len(part)}" if at_once else IN_TURN)
            for place, run in enumerate(part, 1)
        ]
        for part in several
    ]


def check_backend(backend: str) -> None:
    """Raise ``UserError`` where a backend cannot train runs together."""
    if backend != BACKEND:
        raise UserError(f"--together takes KERAS_BACKEND={BACKEND}, not {backend}")


def mark_batched(run: Run, how: str) -> Run:
    """Return the run in an environment that says how it is trained together with others."""
    return replace(run, environment={**run.environment, FIELD: how})


def is_batch_mode(how: Any) -> bool:
    """Return whether an environment's field says how a run was trained together with others."""
    if how == IN_TURN:
        return True
    found = re.fullmatch(rf"({NUMBER}) of ({NUMBER})", how) if isinstance(how, str) else None
    return found is not None and int(found[1]) <= int(found[2])


def compatible_groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs in groups that one program can train, in order."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(json.dumps([_program(run), run.dataset["sha256"]]), []).append(run)
    return [*found.values()]


def position(run: Run) -> tuple[int, int]:
    """Return a run's place among those trained at once, from 0, and how many they are."""
    number, _, count = run.environment[FIELD].partition(" of ")
    return int(number) - 1, int(count)


def _program(run: Run) -> dict[str, Any]:
    """Return an arm's identity without what a program is given: initial values, the rate."""
    told = run.arm.identity()
    del told["schedule"]
    told["optimizer"]["config"].pop("learning_rate", None)
    options = told["network"]["config"]
    for name in [name for name in options if name.endswith("_initializer")]:
        del options[name]
    return told


def _parts(group: list[Run], most: int) -> list[list[Run]]:
    size = most or len(group)
    return [group[begin : begin + size] for begin in range(0, len(group), size)]
