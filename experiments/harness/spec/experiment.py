"""The vocabulary: what an experiment is made of, as frozen data. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from experiments.harness.spec.arm import Arm, Scale, Variant
from experiments.harness.spec.figures import DEFAULT_PANELS, Panel, ReportedValues
from experiments.harness.spec.run import Run, RunSpec
from experiments.harness.spec.search_space import DEFAULT_SPACE, Dimension

Measure = Callable[[Mapping[str, Run]], float]
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Claim:
    """A document's sentence, made executable.

    ``measure`` maps the runs of one seed, by arm, to a number; it must fall in ``bounds``, both
    ends included, and in ``mini_bounds`` (the same where None) at that scale. Bounds are fixed
    before the runs. ``documented`` is what the document says, as it is to be shown; ``instead``
    what the measurement shows instead, told where the claim is REFUTED.
    """

    text: str
    where: str
    measure: Measure
    documented: str
    bounds: Bounds
    mini_bounds: Bounds | None = None
    instead: str = ""

    def bounds_at(self, scale: Scale) -> Bounds:
        """Return the interval that holds at ``scale``."""
        return self.bounds if scale == "full" or self.mini_bounds is None else self.mini_bounds


@dataclass(frozen=True)
class Verdict:
    """A claim, the value measured for each seed, and what follows."""

    claim: Claim
    values: Mapping[int, float]
    outcome: Literal["REPRODUCED", "REFUTED", "INCONCLUSIVE"]
    note: str = ""


@dataclass(frozen=True)
class Experiment:
    """A question, where it was put, and everything needed to answer it.

    ``mini`` maps override paths to the miniature's values, for every ``Arm``; a ``Variant`` has the
    other arm's. ``mini_names`` are the arms trained at that scale, where not all are.
    ``documented`` maps an arm to what the document prints of it; ``cost`` says how long one seed
    takes at each scale; ``seeds`` are trained unless others are asked for; ``deviations`` are
    numbered from 1, in order; ``framework`` says what the document's framework did by default and
    Keras does not. A search varies the ``space`` of the arm ``searched``, the first one where not
    told. The catalogue fills in ``name``, ``at`` (every arm at each scale, its variants
    made) and ``arm_ids`` (the arm as ``experiment:arm`` that each name stands for).
    """

    title: str
    question: str
    document: str
    arms: Mapping[str, Arm | Variant]
    claims: tuple[Claim, ...]
    deviations: tuple[str, ...]
    cost: Mapping[Scale, str]
    mini: Mapping[str, Any] = field(default_factory=dict)
    documented: Mapping[str, ReportedValues] = field(default_factory=dict)
    framework: tuple[str, ...] = ()
    mini_names: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    panels: tuple[Panel, ...] = DEFAULT_PANELS
    space: tuple[Dimension, ...] = DEFAULT_SPACE
    searched: str = ""
    name: str = ""
    at: Mapping[Scale, Mapping[str, Arm]] = field(default_factory=dict)
    arm_ids: Mapping[str, str] = field(default_factory=dict)

    def name_of(self, spec: RunSpec) -> str:
        """Return this experiment's name for the arm of ``spec``; ``KeyError`` if it has none."""
        return {arm_id: name for name, arm_id in self.arm_ids.items()}[spec.arm_id]
