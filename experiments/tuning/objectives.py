"""What a search is asked for: oracles and objectives. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

ORACLES = ("grid", "random", "bayesian", "hyperband")
COUNTED = ("random", "bayesian")  # that have no end of their own
SHARDED = ("grid", "random")  # whose trials depend on no other


@dataclass(frozen=True)
class Objective:
    """What is searched for: ``direction`` is the better one, as KerasTuner calls it.

    ``worst`` is what a trial that diverged counts as, which is finite (of an objective that is not,
    an oracle makes what it likes) and never better than another.
    """

    direction: str
    worst: float

    @property
    def sign(self) -> int:
        """What a score is multiplied by so that less is better."""
        return -1 if self.direction == "max" else 1


OBJECTIVES = {"accuracy": Objective("max", 0.0), "loss": Objective("min", 10.0)}
