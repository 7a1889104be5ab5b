"""The record of one run of a script, as its process wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

Event = Mapping[str, Any]
NOT_COMPARED = ("random",)  # states of generators that may never be drawn from


@dataclass(frozen=True)
class Record:
    """What a run of the script recorded in ``folder``: events in order, and how it ended.

    ``end`` is empty if the process ended before the script did, ``calls`` are the lines of the
    script that each switch acted on.
    """

    folder: Path
    events: Sequence[Event]
    details: Sequence[Event]
    end: Event
    calls: Mapping[str, Mapping[str, None]]

    @cached_property
    def essences(self) -> list[Event]:
        """Return the events without what is not compared."""
        return [
            {name: value for name, value in event.items() if name not in NOT_COMPARED}
            for event in self.events
        ]

    @cached_property
    def beginnings(self) -> list[Event]:
        """Return the events with which trainings begin."""
        return [event for event in self.events if event["type"] == "begin"]

    def of_training(self, number: int) -> list[Event]:
        """Return the events of a training."""
        return [event for event in self.events if event["training"] == number]

    @property
    def backend(self) -> str:
        """Return the name of the script's backend."""
        return self.end.get("environment", {}).get("backend", "")

    def epochs(self) -> int:
        """Return how many epochs of all fits were recorded."""
        return sum(event["type"] == "batches" for event in self.events)

    def steps(self) -> int:
        """Return how many steps of the script's own loops were recorded."""
        return sum(event["type"] == "step" for event in self.events)


def read(folder: Path) -> Record:
    """Read a record; what a killed process wrote of a last line is left out."""
    events: dict[str, list[Event]] = {"detail": [], "end": [], "stop": [], "event": []}
    path = folder / "record.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            event = json.loads(line)
        except ValueError:
            break
        events[event["type"] if event["type"] in events else "event"].append(event)
    end = next(iter(events["end"]), {})
    calls = next(iter((*events["stop"], *events["end"])), {}).get("calls", {})
    return Record(folder, events["event"], events["detail"], end, calls)
