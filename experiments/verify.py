"""Check that a recorded run repeats to the last bit, or that this machine trains reproducibly."""

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
from experiments.harness.spec import ProcessError, UserError

# options that only some uses accept
USES = {
    "against": "RUN_DIR",
    "data": "RUN_DIR alone",
    "repeats": "--self-test",
    "backend": "--self-test",
    "update_golden": "--self-test",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = parser().parse_args(argv)
    return cli.run_command("verify", lambda: answer(args))


def answer(args: argparse.Namespace) -> int:
    """Verify, and print the result."""
    verify = selected(args)
    with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
        payload = verify(args)
    if args.json:
        print(json.dumps(payload, indent=1))
    return cli.FAILED if payload["sound"] is False else cli.DONE


def selected(args: argparse.Namespace) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """Return the function for the arguments; ``UserError`` for arguments that do not belong together."""
    if bool(args.directory) == args.self_test:
        raise UserError("name a run's directory, or use --self-test")
    if args.self_test:
        use, accepted = run_self_test, {"--self-test"}
    elif args.against:
        use, accepted = against, {"RUN_DIR"}
    else:
        use, accepted = again, {"RUN_DIR", "RUN_DIR alone"}
    for option, use_of in USES.items():
        if getattr(args, option) and use_of not in accepted:
            raise UserError(f"--{option.replace('_', '-')} is for {use_of}")
    return use


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    command = cli.ArgumentParser(
        prog="python -m experiments.verify",
        description=__doc__,
        epilog="Exit codes: 0 identical, or environments that differ, so that bits may; 1 different, "
        "or a process failed; 2 bad use or bad input; 130 interrupted.",
        parents=cli.shared_flags("data", "json"),
    )
    add = command.add_argument
    # fmt: off
    add("directory", nargs="?", type=Path, metavar="RUN_DIR", help="train the run in it again, in "
        "a temporary folder; if its bits differ, print where, how far, and the likely cause")
    add("--against", type=Path, metavar="RUN_DIR", help="compare with this run instead; train "
        "nothing")
    add("--self-test", action="store_true", help="repeat short trainings in fresh processes, on "
        "each installed backend and each device; one of them is stopped and resumed; about a "
        "minute a backend")
    add("--repeats", "--times", type=cli.whole_number(2), metavar="N", help="fresh processes; default: 3")
    add("--backend", nargs="+", metavar="NAME", help="default: all that are installed")
    add("--update-golden", "--bless", action="store_true", help="save the fingerprints as those "
        "of this environment in experiments/golden.json")
    # fmt: on
    return command


def again(args: argparse.Namespace) -> dict[str, Any]:
    """Train the run again and compare."""
    from experiments.verification import divergence, report, rerun

    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        verifier = rerun.Verifier(args.directory, args.data, Path(scratch))
        print(report.header(verifier.run))
        again, folder = verifier.rerun()
        foreign = divergence.environment_differences(
            verifier.run.spec.environment, again.spec.environment
        )
        found = None if foreign else verifier.diagnose(again, folder)
        payload = report.summary(verifier.run, again, foreign, found)
    print(report.text(payload))
    return payload


def against(args: argparse.Namespace) -> dict[str, Any]:
    """Compare two runs that exist."""
    from experiments.harness.storage import run_record
    from experiments.verification import divergence, report

    folders = args.directory, args.against
    one, other = map(run_record.read, folders)
    divergence.check_comparable(one, other)
    foreign = divergence.environment_differences(one.spec.environment, other.spec.environment)
    found = None if foreign else divergence.compare(one, other, folders)
    payload = report.summary(one, other, foreign, found)
    print(report.text(payload))
    return payload


def run_self_test(args: argparse.Namespace) -> dict[str, Any]:
    """Show for each backend and device whether training is reproducible."""
    from experiments.harness.reporting import tables
    from experiments.verification import golden, self_test

    rows: list[self_test.SelfTestResult] = []
    failures: dict[str, str] = {}
    for backend in self_test.backends(args.backend or ()):
        try:
            rows += self_test.run_backend(backend, args.repeats or 3)
        except (UserError, ProcessError) as error:
            failures[backend] = str(error)
    print(f"\n{tables.self_test([row.to_json() for row in rows])}\n")
    for backend, failure in failures.items():
        print(f"{backend} FAILED: {failure}")
    for row in rows:
        if args.update_golden and row.verdict == "KEPT":
            golden.update(row.environment, row.run, row.fingerprints[0])
            print(f"saved {row.run} of {row.environment['backend']} in {golden.PATH}")
    unlike = {"OTHER"} if not args.update_golden else set()
    broken = any(row.verdict != "KEPT" or row.repository in unlike for row in rows)
    payload = {"rows": [row.to_json() for row in rows], "failures": failures}
    return payload | {"sound": not (broken or failures)}


if __name__ == "__main__":
    signals.exit_process(main())
