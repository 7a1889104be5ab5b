"""Do the next slice of the documents' full-size results: a list of jobs that goes on where it was.

For a machine with an accelerator that is there for minutes at a time: each job is a call of another
door, in a process of its own. What is done is not done again, what was killed goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.harness import doors, files, interrupts, switches
from experiments.joblist import conduct
from experiments.joblist.ledger import Entry, Ledger
from experiments.joblist.plan import DATASET, JOBS


def main(words: Sequence[str] | None = None) -> int:
    """Run the door with the words of a command line; return its exit code."""
    asked = parser().parse_args(words)
    asked.deadline = time.monotonic() + 60 * asked.time_limit
    return doors.answered("jobs", lambda: answer(asked), "; run again to go on")


def parser() -> argparse.ArgumentParser:
    """Return the door's argument parser."""
    door = doors.Parser(
        prog="python -m experiments.jobs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""\
A slice, and what is worth keeping of it, without the states, as one file:

  python -m experiments.jobs --logdir logs/gpu --time-limit 8; tar -czf kept.tar.gz \\
    --exclude=state --exclude='*.keras' --exclude='events.*' logs/gpu

Unpacked on another machine of the same kind, the same command goes on there: what is complete is
found, a run under way begins anew, as its state is not there. KERAS_BACKEND chooses the backend.
Afterwards python -m experiments.report --record --logdir logs/gpu keeps the runs' results, of
committed code: where the code travels without git, send it as a git bundle, and clone that. What
the self-test and the benchmark printed, logs/gpu/jobs/*/stdout, are records as they are: for
experiments/records/reliability/self-test-*.json, and for .../speed/benchmark-*.json.
Exit codes: 0 done, or time is over; 1 a job has failed; 2 bad use or bad input; 130
interrupted.""",
    )
    add = door.add_argument
    # fmt: off
    add("--list", action="store_true", help="show how each job stands, and do nothing")
    add("--time-limit", type=doors.minutes, default=math.inf, metavar="MINUTES", help="begin no "
        "job, but a slice's first, for which there is no time; a training ends after the interval "
        "in which it is over, and then draws and judges; at least one interval is made. Default: "
        "all to the end")
    add("--scale", choices=("full", "tiny"), default="full", help="tiny rehearses the list on a "
        "CPU, at other sizes; default: full")
    add("--data", default="", metavar="SOURCE", help="as for reproduce")
    add("--logdir", type=Path, metavar="DIR", help="default: logs/jobs-full or logs/jobs-tiny")
    add("--retry", action="store_true", help="do once more what has failed")
    add("--json", action="store_true", help="print how the jobs stand as JSON, and nothing else")
    # fmt: on
    return door


def answer(asked: argparse.Namespace) -> int:
    """Do a slice, and print how each job stands then."""
    logdir = asked.logdir or Path("logs") / f"jobs-{asked.scale}"
    ledger = Ledger(logdir / "jobs", asked.scale, switches.backend(), asked.data)
    if not asked.list:
        from experiments.harness import datasets, determinism  # import numpy: not for a list

        tell = (lambda _: None) if asked.json else doors.tell
        determinism.installed_backend()  # before any job has failed for it, or for the data
        with contextlib.redirect_stdout(sys.stderr):  # where it is downloaded, Keras says so
            _, warning = datasets.named(DATASET, asked.data or DATASET)
        if warning:
            tell(warning)
        with files.owned(ledger.folder):
            now = conduct.Slice(ledger, logdir, asked.deadline)
            conduct.work(JOBS, now, tell, asked.retry)
    entries = {job.name: ledger.entry(job) for job in JOBS}
    print(as_json(entries) if asked.json else as_table(entries))
    failed = any(entry.status == "failed" for entry in entries.values())
    return doors.FAILED if failed and not asked.list else doors.DONE


def as_json(entries: Mapping[str, Entry]) -> str:
    """Return how the jobs stand, by their names, and how many are left."""
    told: dict[str, Any] = {name: vars(entry) for name, entry in entries.items()}
    return json.dumps({"jobs": told, "left": left(entries)}, indent=1)


def as_table(entries: Mapping[str, Entry]) -> str:
    """Return a line for each job, and one for all."""
    from tabulate import tabulate

    rows = [
        (name, entry.status, entry.slices, f"{entry.seconds:.0f} s", entry.note)
        for name, entry in entries.items()
    ]
    table = tabulate(rows, ("job", "status", "slices", "took", ""), maxcolwidths=[None] * 4 + [50])
    rest = left(entries)
    told = f"{rest} of {len(entries)} jobs are left; the same command goes on"
    return f"\n{table}\n\n{told if rest else f'all {len(entries)} jobs are over'}"


def left(entries: Mapping[str, Entry]) -> int:
    """Return how many jobs are not over."""
    return sum(entry.status not in conduct.OVER for entry in entries.values())


if __name__ == "__main__":
    interrupts.leave(main())
