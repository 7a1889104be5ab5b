"""Does a run come out again, to the last bit? And where not: where do the two part, and why?"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness.runtime import subprocesses
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, Run, UserError
from experiments.harness.storage import checkpoint, run_record
from experiments.verification import causes
from experiments.verification.divergence import (
    Divergence,
    compare,
    environment_differences,
    tensor_distance,
)
from experiments.verification.tensor_diff import differing_names, distance, first_difference

Start = dict[str, Any]
Steps = list[dict[str, str]]


class Verifier:
    """Re-executes a recorded run, each time in a process of its own, in folders below ``scratch``.

    ``source`` names its data where the record's own name does not.
    """

    def __init__(self, directory: Path, source: str | None, scratch: Path) -> None:
        self.run, self.directory = run_record.read(directory), directory
        self.given = {"recorded": str(directory.resolve()), "source": source}
        self.start = causes.recorded_start(self.run.spec.environment)
        self.scratch, self.numbers = scratch, count(1)

    def rerun(self) -> tuple[Run, Path]:
        """Make the run again as far as its bits come out again; return it, and where it is.

        All of it where the environment cannot be had here.
        """
        folder = self._folder()
        here = self._call("retrace", self.start, folder=str(folder), anywhere=False)
        if lines := environment_differences(self.run.spec.environment, here):
            told = "\n  ".join(["the environment cannot be had here:", *lines])
            logger.info(f"{told}\nmaking the run all the same, to compare statistics")
            self._call("retrace", self.start, folder=str(folder), anywhere=True)
        return run_record.read(folder), folder

    def diagnose(self, again: Run, folder: Path) -> Divergence | None:
        """Return where the run and its rerun part, and the likely cause; None if nowhere."""
        found = compare(self.run, again, (self.directory, folder))
        if found is None:
            return None
        if not found.cause:
            found = self._searched(found, again, folder)
        told = any(self.run.digests[found.interval : found.interval + 1])  # older runs tell none
        if found.apart or (told and not found.tensors):
            return found
        later = (at for at in checkpoint.saved(self.directory / "state") if at >= found.interval)
        if (end := next(later, None)) is not None:
            logger.info(f"training on to interval {end}, whose state is kept, to see how far apart")
            self._call("interval", self.start, start=None, folder=str(folder), end=end)
            apart, at = tensor_distance((self.directory, folder), found.interval, found.tensors)
            found = replace(found, apart=apart, at=at)
        return found

    def _searched(self, found: Divergence, again: Run, folder: Path) -> Divergence:
        """Return the finding with the cause: what, when changed, makes the recorded bits."""
        place = found.interval
        begun = str(checkpoint.path(folder / "state", place - 1)) if place else None
        logger.info(f"interval {place} differs; looking for the cause")
        if self._link(place, begun, self.start) != again.chain[place]:
            cause = "this machine: the same interval once more has not the same bits"
            return replace(found, cause=cause)
        for name, start in causes.candidates(self.run.spec.environment):
            logger.info(f"trying {name}")
            try:
                link = self._link(place, begun, start)
            except (UserError, ProcessError) as error:
                logger.info(f"cannot be tried: {error}")
                continue
            if link == self.run.chain[place]:
                found = replace(found, cause=f"{name}: so the recorded bits come out")
                return self._stepped(found, begun, start) if begun else found
        return replace(found, cause="unknown: nothing that was tried makes the recorded bits")

    def _stepped(self, found: Divergence, begun: str, start: Start) -> Divergence:
        """Return the finding with the first step and tensor that differ under ``start``."""
        rerun, turned, kept = self._both(begun, start, 1)
        place = first_difference(rerun, turned)
        if place is None:  # they part when evaluated
            return found
        if place:
            _, _, kept = self._both(begun, start, place + 1)
        names = differing_names(rerun[place], turned[place])
        a, b = (np.load(path)[names[0]] for path in kept)
        step = (found.interval - 1) * self.run.spec.arm.steps + place + 1
        apart = distance(names[0], a, b)
        return replace(found, step=step, tensors=names, apart=apart, at=f"step {step}")

    def _both(self, begun: str, start: Start, number: int) -> tuple[Steps, Steps, list[str]]:
        """Return each step's digests, as in the rerun and with ``start``; and the files kept."""
        kept = [str(self._folder() / "step.npz") for _ in range(2)]
        rerun, turned = (
            self._call("steps", each, start=begun, saved=path, number=number)
            for each, path in zip((self.start, start), kept, strict=True)
        )
        return rerun, turned, kept

    def _link(self, place: int, begun: str | None, start: Start) -> str:
        folder = str(self._folder())
        return str(self._call("interval", start, start=begun, folder=folder, end=place))

    def _folder(self) -> Path:
        folder = self.scratch / f"{next(self.numbers)}"
        (folder / "state").mkdir(parents=True)
        return folder

    def _call(self, function: str, start_options: Start, **arguments: Any) -> Any:
        return subprocesses.call(
            f"experiments.forensics.retracing:{function}",
            self.given | arguments,
            backend=self.run.spec.environment["backend"],
            start=start_options,
        )
