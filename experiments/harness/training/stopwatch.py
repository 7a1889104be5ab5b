"""How long training takes, by the clock and by the processor."""

from __future__ import annotations

import time
from typing import NamedTuple


class Elapsed(NamedTuple):
    """Seconds by the clock, and seconds of processor time, all threads of the process together."""

    seconds: float
    cpu_seconds: float

    def share(self, count: int) -> Elapsed:
        """Return the share of each of ``count`` runs that were trained together."""
        return Elapsed(self.seconds / count, self.cpu_seconds / count)


class Stopwatch:
    """Runs from when it is created."""

    def __init__(self) -> None:
        self.start = Elapsed(time.perf_counter(), time.process_time())

    def elapsed(self) -> Elapsed:
        """Return the time since the start."""
        wall, cpu = time.perf_counter(), time.process_time()
        return Elapsed(wall - self.start.seconds, cpu - self.start.cpu_seconds)
