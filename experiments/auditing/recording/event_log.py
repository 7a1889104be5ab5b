"""The record of one process: a line of JSON for each thing that happened, in order."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn


class EventLog:
    """Appends events to ``path``, and ends the process after ``stop_after`` of them, if given.

    ``seconds`` is the time spent in blocks of ``recording()``, ``failures`` has their errors. Only
    the process that made the log writes to it, not those that the script forks.
    """

    def __init__(self, path: Path, stop_after: int | None) -> None:
        self.file = path.open("w")
        self.stop_after, self.count, self.seconds = stop_after, 0, 0.0
        self.process, self.lock, self.thread = os.getpid(), threading.RLock(), threading.local()
        self.last_words: dict[str, Any] = {}  # of a process that is stopped
        self.failures: dict[str, None] = {}
        self.clock = time.perf_counter  # a switch may replace those in ``time``

    def write(self, type_: str, **fields: Any) -> None:
        """Append an event; details do not count."""
        if os.getpid() != self.process:
            return
        with self.lock:
            print(json.dumps({"type": type_, **fields}), file=self.file)
            self.count += type_ != "detail"
            if type_ != "step":
                self.file.flush()
            if self.stop_after is not None and self.count >= self.stop_after:
                self.stop()

    def stop(self) -> NoReturn:
        """End the process: what was asked for is recorded."""
        print(json.dumps({"type": "stop", **self.last_words}), file=self.file, flush=True)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Count the time of the block as the audit's own.

        An error in it is not the script's: it becomes a line of ``failures``.
        """
        started, depth = self.clock(), getattr(self.thread, "depth", 0)
        self.thread.depth = depth + 1
        try:
            yield
        except Exception as error:
            self.failures.setdefault(f"not recorded: {type(error).__name__}: {error}")
        finally:
            self.thread.depth = depth
            if not depth:
                with self.lock:
                    self.seconds += self.clock() - started
