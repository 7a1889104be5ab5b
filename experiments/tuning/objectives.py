"""The oracles and objectives that a user can choose from. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

ORACLES = ("grid", "random", "bayesian", "hyperband")
NEED_TRIAL_COUNT = ("random", "bayesian")  # the others end by themselves
SHARDABLE = ("grid", "random")  # no trial depends on the outcome of another


@dataclass(frozen=True)
class Objective:
    """A metric to optimise; ``direction`` is ``"min"`` or ``"max"``, as in KerasTuner.

    ``worst`` is the score of a run that diverged: finite, since oracles do not define how they
    handle nonfinite scores. If ``bounded``, no other score is worse.
    """

    direction: str
    worst: float
    bounded: bool

    @property
    def sign(self) -> int:
        """The factor that turns a score into a value to minimise."""
        return -1 if self.direction == "max" else 1

    def diverged_score(self, scores: Iterable[float]) -> float:
        """Return the score of a diverged trial among others with these finite scores.

        It is worse than all of them: ``worst`` or, if one of them is no better than that, a score
        as far beyond the worst of them as their range or their magnitude.
        """
        values = [self.sign * score for score in scores]
        last = max(values, default=-math.inf)
        if last < self.sign * self.worst:
            return self.worst
        return self.sign * (last + max(last - min(values), abs(last), 1.0))


OBJECTIVES = {
    "accuracy": Objective("max", 0.0, bounded=True),
    "loss": Objective("min", 10.0, bounded=False),  # a sum over outputs may be any number
}
