"""Check that a recorded run comes out again to the last bit, or that this machine can do that."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.harness import doors, interrupts
from experiments.harness.doors import tell
from experiments.harness.spec import ProcessError, UserError

# what only some uses heed: the option, and what it is for
HEEDED = {
    "against": "RUN_DIR",
    "data": "RUN_DIR alone",
    "times": "--self-test",
    "backend": "--self-test",
    "bless": "--self-test",
}


def main(words: Sequence[str] | None = None) -> int:
    """Run the door with the words of a command line; return its exit code."""
    asked = parser().parse_args(words)
    return doors.answered("verify", lambda: answer(asked))


def answer(asked: argparse.Namespace) -> int:
    """Do what was asked and print what comes of it."""
    verification = chosen(asked)
    with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
        told = verification(asked)
    if asked.json:
        print(json.dumps(told, indent=1))
    return doors.FAILED if told["sound"] is False else doors.DONE


def chosen(asked: argparse.Namespace) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """Return what does that which was asked for; ``UserError`` for words that it does not heed."""
    if bool(asked.directory) == asked.self_test:
        raise UserError("name a run's directory, or --self-test")
    if asked.self_test:
        use, heeds = run_self_test, {"--self-test"}
    elif asked.against:
        use, heeds = against, {"RUN_DIR"}
    else:
        use, heeds = again, {"RUN_DIR", "RUN_DIR alone"}
    for option, what in HEEDED.items():
        if getattr(asked, option) and what not in heeds:
            raise UserError(f"--{option} is for {what}")
    return use


def parser() -> argparse.ArgumentParser:
    """Return the door's argument parser."""
    door = doors.Parser(
        prog="python -m experiments.verify",
        description=__doc__,
        epilog="Exit codes: 0 the same bits, or environments whose bits need not be the same; "
        "1 other bits, or a process failed; 2 bad use or bad input; 130 interrupted.",
    )
    add = door.add_argument
    # fmt: off
    add("directory", nargs="?", type=Path, metavar="RUN_DIR", help="make the run in it again, in a "
        "temporary place; where its bits differ, tell where, how far, and the likely cause")
    add("--against", type=Path, metavar="RUN_DIR", help="compare with that run instead, train "
        "nothing")
    add("--data", metavar="SOURCE", help="the data that the run was trained on, as for reproduce")
    add("--self-test", action="store_true", help="repeat short trainings in fresh processes, on "
        "each backend that is installed and each device, one of them stopped and gone on with; "
        "about a minute a backend")
    add("--times", type=doors.whole(2), metavar="N", help="fresh processes; default: 3")
    add("--backend", nargs="+", metavar="NAME", help="default: all that are installed")
    add("--bless", action="store_true", help="then keep the fingerprints as those of this "
        "environment, in experiments/golden.json")
    add("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    # fmt: on
    return door


def again(asked: argparse.Namespace) -> dict[str, Any]:
    """Make the run once more, and compare."""
    from experiments.forensics import findings, verification

    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        verifier = verification.Verifier(asked.directory, asked.data, Path(scratch), tell)
        tell(findings.beginning(verifier.run))
        again, folder = verifier.rerun()
        foreign = verification.foreign(verifier.run.environment, again.environment)
        found = None if foreign else verifier.diagnose(again, folder)
        told = findings.summary(verifier.run, again, foreign, found)
    tell(findings.text(told))
    return told


def against(asked: argparse.Namespace) -> dict[str, Any]:
    """Compare two runs that exist."""
    from experiments.forensics import findings, verification
    from experiments.harness import record

    folders = asked.directory, asked.against
    one, other = map(record.recorded, folders)
    verification.check_comparable(one, other)
    foreign = verification.foreign(one.environment, other.environment)
    found = None if foreign else verification.compare(one, other, folders)
    told = findings.summary(one, other, foreign, found)
    tell(findings.text(told))
    return told


def run_self_test(asked: argparse.Namespace) -> dict[str, Any]:
    """Show for each backend and device whether the promise is kept."""
    from experiments.forensics import golden, selftest
    from experiments.harness import tables

    rows: list[selftest.Tested] = []
    failures: dict[str, str] = {}
    for backend in selftest.backends(asked.backend or ()):
        try:
            rows += selftest.of_backend(backend, asked.times or 3, tell)
        except (UserError, ProcessError) as error:
            failures[backend] = str(error)
    tell(f"\n{tables.self_test([row.told() for row in rows])}\n")
    for backend, failure in failures.items():
        tell(f"{backend} FAILED: {failure}")
    for row in rows:
        if asked.bless and row.verdict == "KEPT":
            golden.keep(row.environment, row.run, row.fingerprints[0])
            tell(f"kept {row.run} of {row.environment['backend']} in {golden.PATH}")
    unlike = {"OTHER"} if not asked.bless else set()
    broken = any(row.verdict != "KEPT" or row.repository in unlike for row in rows)
    told = {"rows": [row.told() for row in rows], "failures": failures}
    return told | {"sound": not (broken or failures)}


if __name__ == "__main__":
    interrupts.leave(main())
