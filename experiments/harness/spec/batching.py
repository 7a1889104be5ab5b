"""Which runs can be trained together, as one program. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from experiments.harness.spec.errors import UserError
from experiments.harness.spec.run import RunSpec

BACKEND = "jax"  # whose transformations make many trainings of one
FIELD = "together"  # of the environment of a batched run
IN_TURN = "in turn"
NUMBER = r"[1-9][0-9]{0,3}"  # of runs in a batch


def group_runs(specs: Sequence[RunSpec], most: int) -> list[list[RunSpec]]:
    """Return the batches of two runs or more that can share a program, ``most`` runs at most.

    0 is no limit. Each run's environment then records how it is batched: on an accelerator its
    position and the size of the batch (``2 of 27``), as both may decide bits; on a CPU neither
    does. Raises ``UserError`` if there is no batch, and for a negative number, 1 or a truth value.
    """
    environment = specs[0].environment
    check_backend(environment["backend"])
    if isinstance(most, bool) or most == 1 or most < 0:
        raise UserError(f"batch_runs must be 2 or more, or 0 for no limit, not {most}")
    if len(specs) < 2:
        raise UserError("one run cannot be batched; choose more seeds or arms")
    batches = [
        batch
        for group in compatible_groups(specs)
        for batch in _split(group, most)
        if len(batch) > 1
    ]
    if not batches:
        raise UserError(
            "no two of these runs can share a program: they differ in more than initial values, "
            "seeds, learning rates and schedules"
        )
    on_cpu = environment["device"] == "cpu"
    return [
        [
            mark_batched(spec, IN_TURN if on_cpu else f"{number} of {len(batch)}")
            for number, spec in enumerate(batch, 1)
        ]
        for batch in batches
    ]


def check_backend(backend: str) -> None:
    """Raise ``UserError`` if a backend cannot train runs in batches."""
    if backend != BACKEND:
        raise UserError(f"--batch-runs needs KERAS_BACKEND={BACKEND}, not {backend}")


def mark_batched(spec: RunSpec, how: str) -> RunSpec:
    """Return the run in an environment that records how it is batched."""
    return replace(spec, environment={**spec.environment, FIELD: how})


def is_batch_mode(how: Any) -> bool:
    """Return whether ``how`` is a valid record of how a run was batched."""
    if how == IN_TURN:
        return True
    found = re.fullmatch(rf"({NUMBER}) of ({NUMBER})", how) if isinstance(how, str) else None
    return found is not None and int(found[1]) <= int(found[2])


def compatible_groups(specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """Return the runs grouped by the program that can train them, in order."""
    groups: dict[str, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(json.dumps([_program(spec), spec.dataset["sha256"]]), []).append(spec)
    return [*groups.values()]


def position(spec: RunSpec) -> tuple[int, int]:
    """Return a run's position in its batch, from 0, and the size of the batch."""
    number, _, count = spec.environment[FIELD].partition(" of ")
    return int(number) - 1, int(count)


def _program(spec: RunSpec) -> dict[str, Any]:
    """Return the arm's identity without the inputs of a program: initial values, the rate."""
    arm = spec.arm.identity()
    del arm["schedule"]
    if not spec.arm.has_keras_schedule:  # a Keras schedule is compiled in
        arm["optimizer"]["config"].pop("learning_rate", None)
    options = arm["network"]["config"]
    for name in [name for name in options if name.endswith("_initializer")]:
        del options[name]
    return arm


def _split(group: list[RunSpec], most: int) -> list[list[RunSpec]]:
    size = most or len(group)
    return [group[first : first + size] for first in range(0, len(group), size)]
