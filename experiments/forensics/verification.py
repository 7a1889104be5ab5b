"""Does a run come out again, to the last bit? And where not: where do the two part, and why?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from experiments.forensics import elsewhere, knobs
from experiments.forensics.differences import (
    Distance,
    differing,
    distance,
    first,
    first_batch,
    is_random_state,
)
from experiments.harness import record, state
from experiments.harness.spec import ProcessError, Run, UserError

Tell = Callable[[str], None]
Start = dict[str, Any]
Steps = list[dict[str, str]]


@dataclass(frozen=True)
class Finding:
    """Where two runs part, and what is known of it.

    ``interval`` 0 is before the first step; ``step`` counts from 1, None where it is not known;
    ``tensors`` are those that differ first, ``apart`` how far, after ``at``; ``cause`` is the
    likely one.
    """

    interval: int
    cause: str
    step: int | None = None
    tensors: Sequence[str] = ()
    apart: Distance | None = None
    at: str = ""


def foreign(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return how two environments differ, a line each; bits compare where there is none."""
    pairs = record.differences(dict(a), dict(b))
    return [f"{path}: {x} in the one, {y} in the other" for path, x, y in pairs]


def check_comparable(a: Run, b: Run) -> None:
    """Raise ``UserError`` where two runs are not of one arm, seed and dataset."""
    one, other = (record.identity(run) | {"environment": None} for run in (a, b))
    if found := record.differences(one, other):
        told = "; ".join(f"{path} is {x} and {y}" for path, x, y in found[:3])
        raise UserError(f"these are two different runs: {told}")


def compare(a: Run, b: Run, folders: Sequence[Path]) -> Finding | None:
    """Return where two runs part that left what they left in ``folders``; None if nowhere."""
    place = first(a.chain, b.chain)
    if place is None:
        return _tables(a, b)
    if place >= min(len(a.chain), len(b.chain)):
        return Finding(place, f"one of them ends after interval {place - 1}")
    kept = bool(a.digests[place] and b.digests[place])  # older runs have no digests
    names = differing(a.digests[place], b.digests[place]) if kept else []
    step, cause = None, ""
    if "batches" in names:
        inside = first_batch(a.digests[place]["batches"], b.digests[place]["batches"])
        step = (place - 1) * a.arm.steps + (inside or 0) + 1
        cause = f"the batch of step {step}: other examples, or in another order"
    elif not place and names:
        kind = "random-number state" if is_random_state(names[0]) else "initial values"
        cause = f"{kind}: {names[0]} is not the same before the first step"
    elif kept and not names:
        return Finding(place, _metrics(a, b, place))
    tensors = [name for name in names if name != "batches"]
    apart, at = _apart(folders, place, tensors)
    return Finding(place, cause, step, tensors, apart, at)


def _tables(a: Run, b: Run) -> Finding | None:
    """Return where the tables differ of two runs whose links are the same; None if nowhere."""
    for place, rows in enumerate(zip(a.digests, b.digests, strict=True)):
        if names := _unlike(*rows):
            return Finding(place, _edited("digests.csv", names))
        if names := _unlike(*(_measured(run, place) for run in (a, b))):
            return Finding(place, _edited("history.csv" if place else "run.json", names))
    return None


def _edited(file: str, names: Sequence[str]) -> str:
    shown = ", ".join([*names[:3], *["..."] * (len(names) > 3)])
    return f"the record: {file} was changed ({shown}); all links are the same"


def _measured(run: Run, place: int) -> Mapping[str, float]:
    return {n: values[place - 1] for n, values in run.history.items()} if place else run.initial


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the names that both have, for values that differ; of two NaNs none does."""
    return [name for name in one if name in other and repr(one[name]) != repr(other[name])]


def _metrics(a: Run, b: Run, place: int) -> str:
    """Return what differs where all tensors are the same."""
    if names := _unlike(_measured(a, place), _measured(b, place)):
        return f"what was measured: {', '.join(names)}; the network is the same"
    return "the record: the link itself was changed, all that it is made of is the same"


def _apart(
    folders: Sequence[Path], place: int, names: Sequence[str]
) -> tuple[Distance | None, str]:
    """Return how far apart the first of the tensors is in the first states that both have kept."""
    kept = [state.kept(folder / "state") for folder in folders]
    for interval in (interval for interval in kept[0] if interval >= place):
        try:
            a, b = (state.load(paths[interval]).tensors for paths in kept)
        except (KeyError, *state.DAMAGED):  # only one has kept it, or it is damaged
            continue
        for path in [*names, *a]:
            if path in a and path in b and a[path].tobytes() != b[path].tobytes():
                return distance(path, a[path], b[path]), f"interval {interval}"
    return None, ""


class Verifier:
    """Re-executes a recorded run, each time in a process of its own, in folders below ``scratch``.

    ``source`` names its data where the record's own name does not.
    """

    def __init__(self, directory: Path, source: str | None, scratch: Path, tell: Tell) -> None:
        self.run, self.directory, self.tell = record.recorded(directory), directory, tell
        self.given = {"recorded": str(directory.resolve()), "source": source}
        self.start = knobs.recorded(self.run.environment)
        self.scratch, self.numbers = scratch, count(1)

    def rerun(self) -> tuple[Run, Path]:
        """Make the run again as far as its bits come out again; return it, and where it is.

        All of it where the environment cannot be had here.
        """
        folder = self._folder()
        here = self._call("retrace", self.start, folder=str(folder), anywhere=False)
        if lines := foreign(self.run.environment, here):
            told = "\n  ".join(["the environment cannot be had here:", *lines])
            self.tell(f"{told}\nmaking the run all the same, to compare statistics")
            self._call("retrace", self.start, folder=str(folder), anywhere=True)
        return record.recorded(folder), folder

    def diagnose(self, again: Run, folder: Path) -> Finding | None:
        """Return where the run and its rerun part, and the likely cause; None if nowhere."""
        found = compare(self.run, again, (self.directory, folder))
        if found is None:
            return None
        if not found.cause:
            found = self._searched(found, again, folder)
        told = any(self.run.digests[found.interval : found.interval + 1])  # older runs tell none
        if found.apart or (told and not found.tensors):
            return found
        later = (at for at in state.kept(self.directory / "state") if at >= found.interval)
        if (end := next(later, None)) is not None:
            self.tell(f"training on to interval {end}, whose state is kept, to see how far apart")
            self._call("interval", self.start, begun=None, folder=str(folder), end=end)
            apart, at = _apart((self.directory, folder), found.interval, found.tensors)
            found = replace(found, apart=apart, at=at)
        return found

    def _searched(self, found: Finding, again: Run, folder: Path) -> Finding:
        """Return the finding with the cause: what, when changed, makes the recorded bits."""
        place = found.interval
        begun = str(state.path(folder / "state", place - 1)) if place else None
        self.tell(f"interval {place} differs; looking for the cause")
        if self._link(place, begun, self.start) != again.chain[place]:
            cause = "this machine: the same interval once more has not the same bits"
            return replace(found, cause=cause)
        for name, start in knobs.turned(self.run.environment):
            self.tell(f"trying {name}")
            try:
                link = self._link(place, begun, start)
            except (UserError, ProcessError) as error:
                self.tell(f"cannot be tried: {error}")
                continue
            if link == self.run.chain[place]:
                found = replace(found, cause=f"{name}: so the recorded bits come out")
                return self._stepped(found, begun, start) if begun else found
        return replace(found, cause="unknown: nothing that was tried makes the recorded bits")

    def _stepped(self, found: Finding, begun: str, start: Start) -> Finding:
        """Return the finding with the first step and tensor that differ under ``start``."""
        rerun, turned, kept = self._both(begun, start, 1)
        place = first(rerun, turned)
        if place is None:  # they part when evaluated
            return found
        if place:
            _, _, kept = self._both(begun, start, place + 1)
        names = differing(rerun[place], turned[place])
        a, b = (np.load(path)[names[0]] for path in kept)
        step = (found.interval - 1) * self.run.arm.steps + place + 1
        apart = distance(names[0], a, b)
        return replace(found, step=step, tensors=names, apart=apart, at=f"step {step}")

    def _both(self, begun: str, start: Start, number: int) -> tuple[Steps, Steps, list[str]]:
        """Return each step's digests, as in the rerun and with ``start``; and the files kept."""
        kept = [str(self._folder() / "step.npz") for _ in range(2)]
        rerun, turned = (
            self._call("steps", each, begun=begun, kept=path, number=number)
            for each, path in zip((self.start, start), kept, strict=True)
        )
        return rerun, turned, kept

    def _link(self, place: int, begun: str | None, start: Start) -> str:
        folder = str(self._folder())
        return str(self._call("interval", start, begun=begun, folder=folder, end=place))

    def _folder(self) -> Path:
        folder = self.scratch / f"{next(self.numbers)}"
        (folder / "state").mkdir(parents=True)
        return folder

    def _call(self, function: str, start: Start, **arguments: Any) -> Any:
        return elsewhere.call(
            f"experiments.forensics.retracing:{function}",
            self.given | arguments,
            backend=self.run.environment["backend"],
            start=start,
        )
