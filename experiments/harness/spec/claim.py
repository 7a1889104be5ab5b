"""Claims: statements with bounds, and the verdicts on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from experiments.harness.spec.arm import Scale
from experiments.harness.spec.run import Run

Measure = Callable[[Mapping[str, Run]], float]
Bounds = tuple[float, float]
Outcome = Literal["REPRODUCED", "REFUTED", "DIFFERS", "INCONCLUSIVE"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
FAILED = ("REFUTED", "DIFFERS")
HYPOTHESIS = "-"  # in place of a documented value


@dataclass(frozen=True)
class Claim:
    """A statement of a document, or a hypothesis of this project, that runs can test.

    ``where`` says where the document states it. ``measure`` maps the runs of one seed, by arm, to
    a number, which must lie within ``bounds`` (both ends included), at ``mini`` within
    ``mini_bounds`` if given. Bounds are fixed before the runs; ``set_on`` is the time
    (2026-11-26T08:27) at which bounds or measure were set if runs are older, whose verdicts then
    say so. A ``measure`` that is a number needs no run, and its ``bounds`` count at any scale.
    ``documented`` is the document's value, as text, or ``HYPOTHESIS``; ``instead`` is the
    explanation shown if the claim does not hold.
    """

    text: str
    where: str
    measure: Measure | float
    documented: str
    bounds: Bounds
    mini_bounds: Bounds | None = None
    instead: str = ""
    set_on: str = ""

    @property
    def is_hypothesis(self) -> bool:
        """Whether it is a hypothesis of this project."""
        return self.documented == HYPOTHESIS

    def bounds_at(self, scale: Scale) -> Bounds:
        """Return the bounds at ``scale``."""
        is_mini = scale == "mini" and callable(self.measure)
        return self.mini_bounds if is_mini and self.mini_bounds else self.bounds

    def holds(self, value: float, scale: Scale) -> bool:
        """Return whether a value is within the bounds at ``scale``."""
        low, high = self.bounds_at(scale)
        return low <= value <= high


@dataclass(frozen=True)
class Verdict:
    """The outcome of a claim, with the value measured for each seed that has one."""

    claim: Claim
    values: Mapping[int, float]
    outcome: Outcome
    note: str = ""
