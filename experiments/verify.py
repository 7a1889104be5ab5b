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

from experiments.harness.runtime import cli, signals
from experiments.harness.runtime.cli import print_line
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
    return cli.run_command("verify", lambda: answer(asked))


def answer(asked: argparse.Namespace) -> int:
    """Do what was asked and print what comes of it."""
    verification = chosen(asked)
    with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
        told = verification(asked)
    if asked.json:
        print(json.dumps(told, indent=1))
    return cli.FAILED if told["sound"] is False else cli.DONE


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
    door = cli.ArgumentParser(
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
    add("--times", type=cli.whole_number(2), metavar="N", help="fresh processes; default: 3")
    add("--backend", nargs="+", metavar="NAME", help="default: all that are installed")
    add("--bless", action="store_true", help="then keep the fingerprints as those of this "
        "environment, in experiments/golden.json")
    add("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    # fmt: on
    return door


def again(asked: argparse.Namespace) -> dict[str, Any]:
    """Make the run once more, and compare."""
    from experiments.verification import divergence, report, rerun

    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        verifier = rerun.Verifier(asked.directory, asked.data, Path(scratch), print_line)
        print_line(report.header(verifier.run))
        again, folder = verifier.rerun()
        foreign = divergence.environment_differences(verifier.run.environment, again.environment)
        found = None if foreign else verifier.diagnose(again, folder)
        told = report.summary(verifier.run, again, foreign, found)
    print_line(report.text(told))
    return told


def against(asked: argparse.Namespace) -> dict[str, Any]:
    """Compare two runs that exist."""
    from experiments.harness.storage import run_record
    from experiments.verification import divergence, report

    folders = asked.directory, asked.against
    one, other = map(run_record.read, folders)
    divergence.check_comparable(one, other)
    foreign = divergence.environment_differences(one.environment, other.environment)
    found = None if foreign else divergence.compare(one, other, folders)
    told = report.summary(one, other, foreign, found)
    print_line(report.text(told))
    return told


def run_self_test(asked: argparse.Namespace) -> dict[str, Any]:
    """Show for each backend and device whether the promise is kept."""
    from experiments.harness.reporting import tables
    from experiments.verification import golden, self_test

    rows: list[self_test.SelfTestResult] = []
    failures: dict[str, str] = {}
    for backend in self_test.backends(asked.backend or ()):
        try:
            rows += self_test.run_backend(backend, asked.times or 3, print_line)
        except (UserError, ProcessError) as error:
            failures[backend] = str(error)
    print_line(f"\n{tables.self_test([row.told() for row in rows])}\n")
    for backend, failure in failures.items():
        print_line(f"{backend} FAILED: {failure}")
    for row in rows:
        if asked.bless and row.verdict == "KEPT":
            golden.update(row.environment, row.run, row.fingerprints[0])
            print_line(f"kept {row.run} of {row.environment['backend']} in {golden.PATH}")
    unlike = {"OTHER"} if not asked.bless else set()
    broken = any(row.verdict != "KEPT" or row.repository in unlike for row in rows)
    told = {"rows": [row.told() for row in rows], "failures": failures}
    return told | {"sound": not (broken or failures)}


if __name__ == "__main__":
    signals.exit_process(main())
