"""How far and how a run is trained: everything that does not change its bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.harness.storage.checkpoint import Checkpoint


def never(_: Checkpoint) -> bool:
    """Return False for any checkpoint."""
    return False


@dataclass(frozen=True)
class TrainOptions:
    """When a training stops, and what accompanies it.

    It stops after ``stop_after`` intervals in all (0: only the initial checkpoint is written), at
    the end of the first interval past ``deadline`` (of ``time.monotonic``), or at a checkpoint for
    which ``should_stop`` is true. ``telemetry_every``: intervals between TensorBoard histograms,
    None for the default, 0 for no events at all. ``verbose`` is Keras's; ``callbacks`` are further
    ``keras.callbacks.Callback`` objects.
    """

    stop_after: int | None = None
    deadline: float = math.inf
    should_stop: Callable[[Checkpoint], bool] = never
    telemetry_every: int | None = None
    verbose: int = 0
    callbacks: Sequence[Any] = ()

    def last_interval(self, intervals: int) -> int:
        """Return the interval to stop after, for an arm with ``intervals`` intervals."""
        return intervals if self.stop_after is None else min(self.stop_after, intervals)
