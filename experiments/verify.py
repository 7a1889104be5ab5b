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

from experiments.harness import interrupts
from experiments.harness.spec import UserError

DONE, FAILED, BAD_USE = 0, 1, 2


def main(words: Sequence[str] | None = None) -> int:
    """Run the door with the words of a command line; return its exit code."""
    door = parser()
    asked = door.parse_args(words)
    if bool(asked.directory) == asked.self_test:
        door.error("name a run's directory, or --self-test")
    try:
        with interrupts.heeded():
            with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
                told = chosen(asked)(asked)
            if asked.json:
                print(json.dumps(told, indent=1))
            return DONE if told["sound"] else FAILED
    except (UserError, OSError) as error:
        print(f"verify: {error}", file=sys.stderr)
        return BAD_USE
    except KeyboardInterrupt:
        print("\nverify: interrupted", file=sys.stderr)
        return interrupts.INTERRUPTED


def chosen(asked: argparse.Namespace) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """Return what does that which was asked for."""
    if asked.self_test:
        return self_test
    return against if asked.against else again


def parser() -> argparse.ArgumentParser:
    """Return the door's argument parser."""
    door = argparse.ArgumentParser(
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
    add("--times", type=_several, default=3, metavar="N", help="fresh processes; default: 3")
    add("--backend", nargs="+", default=[], metavar="NAME", help="default: all that are installed")
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
        rerun, folder = verifier.rerun()
        foreign = verification.foreign(verifier.run, rerun)
        found = None if foreign else verifier.diagnose(rerun, folder)
        told = findings.summary(verifier.run, rerun, foreign, found)
    tell(findings.text(told))
    return told


def against(asked: argparse.Namespace) -> dict[str, Any]:
    """Compare two runs that exist."""
    from experiments.forensics import findings, verification
    from experiments.harness import record

    folders = asked.directory, asked.against
    one, other = map(record.recorded, folders)
    verification.check_comparable(one, other)
    foreign = verification.foreign(one, other)
    found = None if foreign else verification.compare(one, other, folders)
    told = findings.summary(one, other, foreign, found)
    tell(findings.text(told))
    return told


def self_test(asked: argparse.Namespace) -> dict[str, Any]:
    """Show for each backend and device whether the promise is kept."""
    from experiments.forensics import elsewhere, golden, selftest

    rows: list[selftest.Tested] = []
    failures: dict[str, str] = {}
    for backend in selftest.backends(asked.backend):
        try:
            rows += selftest.of_backend(backend, asked.times)
        except (UserError, elsewhere.ProcessError) as error:
            failures[backend] = str(error)
    tell(f"\n{selftest.table(rows)}\n")
    for backend, failure in failures.items():
        tell(f"{backend} FAILED: {failure}")
    for row in rows:
        if asked.bless and row.verdict == "KEPT":
            golden.keep(row.environment, row.run, row.fingerprints[0])
            tell(f"kept {row.run} of {row.environment['backend']} in {golden.KEPT}")
    broken = any(row.verdict != "KEPT" or (row.kept == "OTHER" and not asked.bless) for row in rows)
    told = {"rows": [row.told() for row in rows], "failures": failures}
    return told | {"sound": not (broken or failures)}


def tell(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def _several(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 1")
    return int(text)


if __name__ == "__main__":
    interrupts.leave(main())
