"""Check the promise that runs repeat to the last bit."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.harness.spec import UserError

if TYPE_CHECKING:
    from experiments.harness.selftest import Tested

DONE, FAILED, BAD_USE, INTERRUPTED = 0, 1, 2, 130


def main(words: Sequence[str] | None = None) -> int:
    """Run the door with the words of a command line; return its exit code."""
    asked = parser().parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return self_test(asked)
    except (UserError, OSError) as error:
        print(f"verify: {error}", file=sys.stderr)
        return BAD_USE
    except KeyboardInterrupt:
        print("\nverify: interrupted", file=sys.stderr)
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """Return the door's argument parser."""
    door = argparse.ArgumentParser(
        prog="python -m experiments.verify",
        description=__doc__,
        epilog="Exit codes: 0 the promise is kept, 1 it is not, or a process failed, 2 bad use, "
        "130 interrupted.",
    )
    add = door.add_argument
    # fmt: off
    add("--self-test", action="store_true", required=True, help="repeat two short trainings in "
        "fresh processes, on each backend that is installed and each device, one of them stopped "
        "and gone on with; half a minute to a minute a backend")
    add("--times", type=_several, default=3, metavar="N", help="fresh processes; default: 3")
    add("--backend", nargs="+", default=[], metavar="NAME", help="default: all that are installed")
    add("--bless", action="store_true", help="then keep the fingerprints as those of this "
        "environment, in experiments/golden.json")
    add("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    # fmt: on
    return door


def self_test(asked: argparse.Namespace) -> int:
    """Show for each backend and device whether the promise is kept; return the exit code."""
    from experiments.harness import elsewhere, golden, selftest

    rows: list[Tested] = []
    failures: dict[str, str] = {}
    with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
        for backend in selftest.backends(asked.backend):
            try:
                rows += selftest.of_backend(backend, asked.times)
            except (UserError, elsewhere.ProcessError) as error:
                failures[backend] = str(error)
        print(f"\n{selftest.table(rows)}\n")
        for backend, failure in failures.items():
            print(f"{backend} FAILED: {failure}")
        for row in rows:
            if asked.bless and row.verdict == "KEPT":
                golden.keep(row.environment, row.run, row.fingerprints[0])
                print(f"kept {row.run} of {row.environment['backend']} in {golden.KEPT}")
    if asked.json:
        print(json.dumps({"rows": [row.told() for row in rows], "failures": failures}, indent=1))
    broken = any(row.verdict != "KEPT" or (row.kept == "OTHER" and not asked.bless) for row in rows)
    return FAILED if broken or failures else DONE


def _several(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
