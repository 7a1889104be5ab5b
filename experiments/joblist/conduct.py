"""The next slice of a list of jobs: in order, each in a process of its own, until time is over."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from experiments.forensics import elsewhere
from experiments.harness import interrupts
from experiments.harness.spec import ProcessError
from experiments.joblist.ledger import PRINTED, TOLD, Entry, Ledger
from experiments.joblist.plan import Job

Tell = Callable[[str], None]

OVER = ("done", "failed")  # nothing more to do


@dataclass(frozen=True)
class Slice:
    """Where a slice works, and until when, by ``time.monotonic``."""

    ledger: Ledger
    logdir: Path
    deadline: float = math.inf

    @property
    def left(self) -> float:
        """How many minutes are left, none or less where time is over."""
        return (self.deadline - time.monotonic()) / 60

    def words(self, job: Job) -> list[str]:
        """Return the words that the job's door is to be called with now."""
        ledger = self.ledger
        alone = ledger.backend if ledger.scale == "tiny" else ""
        told = {
            "--logdir": str(self.logdir / job.apart),
            "--data": ledger.data,
            "--time-limit": f"{max(self.left, 0.001):.4f}" if self.deadline < math.inf else "",
            "--backend": alone,
            "--backends": alone,
        }
        heeded = [(option, told[option]) for option in job.heeds if told[option]]
        return [*job.at(ledger.scale, ledger.backend, [*chain(*heeded)])]


def work(jobs: Sequence[Job], now: Slice, tell: Tell, retry: bool = False) -> None:
    """Do the jobs in order, up to one for which there is no time; the first is begun at any time.

    ``retry`` also does those that failed once more.
    """
    first = True
    for job in jobs:
        entry = now.ledger.entry(job)
        if entry.status in OVER and not (retry and entry.status == "failed"):
            continue
        if not first and now.left < job.minutes:
            tell(f"{job.name}: not begun in this slice; minutes it needs: {job.minutes:g}")
            return
        tell(f"{job.name}: {entry.status}; {' '.join((job.door, *now.words(job)))}")
        entry = done(job, entry, now, first)
        tell(f"{job.name}: {entry.status}{': ' * bool(entry.note)}{entry.note}")
        if entry.code == interrupts.INTERRUPTED:
            return
        first = False


def done(job: Job, entry: Entry, now: Slice, first: bool) -> Entry:
    """Call the job's door, and return how the job stands then.

    What does not end by itself is ended when its time is over: a slice's first then has failed.
    """
    ledger, begun = now.ledger, time.monotonic()
    entry = replace(entry, status="under way", slices=entry.slices + 1, code=None, note="")
    ledger.keep(job, entry)
    arguments = {"name": job.door, "words": now.words(job), "folder": str(ledger.of(job))}
    endless = "--time-limit" in job.heeds or now.deadline == math.inf
    seconds = None if endless else 60 * max(now.left, job.minutes)
    try:
        code = elsewhere.call("experiments.joblist.call:door", arguments, timeout=seconds)
        entry = ended(entry, code, ledger.of(job))
    except elsewhere.TooLongError:
        note = f"did not end within {seconds:.0f} s"
        entry = replace(entry, status="failed" if first else "under way", note=note)
    except ProcessError as error:
        entry = replace(entry, status="failed", note=str(error))
    spent = round(entry.seconds + time.monotonic() - begun, 1)
    return ledger.keep(job, replace(entry, seconds=spent))


def ended(entry: Entry, code: int, folder: Path) -> Entry:
    """Return the entry of a job whose door ended with ``code``, by what it left in ``folder``."""
    entry = replace(entry, code=code)
    if code == interrupts.INTERRUPTED:
        return replace(entry, note="interrupted")
    if code:
        lines = (folder / TOLD).read_text().split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return replace(entry, status="failed", note=last)
    try:
        told = json.loads((folder / PRINTED).read_text()) if "--json" in entry.words else {}
    except ValueError:
        return replace(entry, status="failed", note="what it printed is no JSON")
    if left := told.get("left", 0):
        return replace(entry, note=f"runs left: {left}")
    return replace(entry, status="done")
