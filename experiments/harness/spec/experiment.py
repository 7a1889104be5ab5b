"""Experiments, claims and verdicts, as frozen data. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.harness.spec.arm import Arm, Scale, Variant
from experiments.harness.spec.claim import Claim
from experiments.harness.spec.figures import DEFAULT_PANELS, Panel, ReportedValues
from experiments.harness.spec.run import RunSpec
from experiments.harness.spec.search_space import DEFAULT_SPACE, Dimension


@dataclass(frozen=True)
class Experiment:
    """A question, the document that raises it, and the arms and claims that answer it.

    ``mini`` holds the overrides that make the miniature of every ``Arm``; a ``Variant`` starts from
    the other arm's miniature. ``mini_names`` are the arms trained at ``mini``, by default all.
    ``protocol`` holds the overrides that narrow every ``Arm``'s network and keep the document's
    steps, batches and rates. Arms without them, and their variants, are left out at that scale.
    ``documented`` has the values that the document reports, by arm. ``cost`` says how long one seed
    takes at each scale. ``seeds`` are the default seeds. ``deviations`` are numbered from 1, in
    order. ``framework`` lists defaults of the document's framework that differ from Keras's.
    A search varies the ``space`` of the arm ``searched``, by default the first one.
    The catalogue fills in ``name``, ``at`` (every arm at each scale, variants resolved) and
    ``arm_ids`` (the arm that each name stands for, as ``experiment:arm``). An experiment outside of
    the catalogue has the ``file`` it was read from and the ``folder`` that its modules are in.
    """

    title: str
    question: str
    document: str
    arms: Mapping[str, Arm | Variant]
    claims: tuple[Claim, ...]
    deviations: tuple[str, ...]
    cost: Mapping[Scale, str]
    mini: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
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
    file: str = ""
    folder: str = ""

    def name_of(self, spec: RunSpec) -> str:
        """Return this experiment's name for the arm of ``spec``; ``KeyError`` if it has none."""
        return {arm_id: name for name, arm_id in self.arm_ids.items()}[spec.arm_id]
