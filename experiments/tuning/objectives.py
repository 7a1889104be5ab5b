"""The oracles and objectives that a user can choose from. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

ORACLES = ("grid", "random", "bayesian", "hyperband")
NEED_TRIAL_COUNT = ("random", "bayesian")  # the others end by themselves
SHARDABLE = ("grid", "random")  # no trial depends on the outcome of another


@dataclass(frozen=True)
class Objective:
    """A metric to optimise; ``direction`` is ``"min"`` or ``"max"``, as in KerasTuner.

    ``worst`` is the score of a trial that diverged: finite, since oracles do not define how they
    handle nonfinite scores, and never better than another trial's.
    """

    direction: str
    worst: float

    @property
    def sign(self) -> int:
        """The factor that turns a score into a value to minimise."""
        return -1 if self.direction == "max" else 1


OBJECTIVES = {"accuracy": Objective("max", 0.0), "loss": Objective("min", 10.0)}
