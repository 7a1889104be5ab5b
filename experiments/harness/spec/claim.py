"""Claims: statements with bounds, and the verdicts on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from experiments.harness.spec.arm import Scale
from experiments.harness.spec.run import Run

Measure = Callable[[Mapping[str, Run]], float]
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Claim:
    """A statement of a document, or a diagnosis of ours, that runs can test.

    ``where`` says where the document states it. ``measure`` maps the runs of one seed, by arm, to
    a number, which must lie within ``bounds`` (both ends included), at ``mini`` within
    ``mini_bounds`` if given. Bounds are fixed before the runs. ``documented`` is the document's
    value, as text; ``instead`` is the explanation shown if the claim is REFUTED.
    """

    text: str
    where: str
    measure: Measure
    documented: str
    bounds: Bounds
    mini_bounds: Bounds | None = None
    instead: str = ""

    def bounds_at(self, scale: Scale) -> Bounds:
        """Return the bounds at ``scale``."""
        return self.mini_bounds if scale == "mini" and self.mini_bounds else self.bounds


@dataclass(frozen=True)
class Verdict:
    """The outcome of a claim, with the value measured for each seed that has one."""

    claim: Claim
    values: Mapping[int, float]
    outcome: Literal["REPRODUCED", "REFUTED", "INCONCLUSIVE"]
    note: str = ""
