"""Check that a recorded run repeats to the last bit, or that this machine trains reproducibly."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.harness.runtime import cli, signals
from experiments.harness.spec import ProcessError, UserError

if TYPE_CHECKING:
    from experiments.harness.spec.run import Recorded
    from experiments.verification.divergence import Divergence
    from experiments.verification.self_test import SelfTestResult

Check = Callable[[argparse.Namespace], dict[str, Any]]
APPLIES_TO = {  # options that not every check takes
    "against": "RUN_DIR",
    "data": "RUN_DIR without --against",
    "repeats": "--self-test",
    "backend": "--self-test",
    "portable": "--self-test",
    "update_golden": "--self-test",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = parser().parse_args(argv)
    return cli.run_command("verify", lambda: answer(args))


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    command = cli.ArgumentParser(
        prog="python -m experiments.verify",
        description=__doc__,
        epilog="Exit codes: 0 identical, or not compared because the environments differ; 1 "
        "different, or a process failed; 2 bad use or bad input; 130 interrupted.",
        parents=cli.shared_flags("data", "portable", "json"),
    )
    add = command.add_argument
    # fmt: off
    add("directory", nargs="?", type=cli.local_directory, metavar="RUN_DIR",
        help="train the run in it again, in a temporary folder; if its bits differ, print where, "
        "how far, and the likely cause")
    add("--against", type=cli.local_directory, metavar="RUN_DIR",
        help="compare with this run instead, also of a script of your own; train nothing")
    add("--self-test", action="store_true", help="check that training is bit-reproducible on this "
        "machine: repeat short runs in fresh processes, on each installed backend and device, and "
        "compare small programs with their exact results; "
        "about a minute per backend")
    add("--repeats", "--times", type=cli.whole_number(2), metavar="N", help="the number of fresh "
        "processes; default: 3")
    add("--backend", nargs="+", metavar="NAME", help="default: all that are installed")
    add("--update-golden", "--bless", action="store_true", help="save the fingerprints as those "
        "of this environment in experiments/golden.json")
    # fmt: on
    return command


def answer(args: argparse.Namespace) -> int:
    """Verify, and print the result."""
    check = choose_check(args)
    with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
        payload = check(args)
    if args.json:
        print(json.dumps(payload, indent=1))
    return cli.FAILED if payload["sound"] is False else cli.DONE


def choose_check(args: argparse.Namespace) -> Check:
    """Return the function for the arguments; ``UserError`` if they do not go together."""
    if bool(args.directory) == args.self_test:
        raise UserError("name a run's directory, or use --self-test")
    check, applicable = retrain, {"RUN_DIR", "RUN_DIR without --against"}
    if args.self_test:
        check, applicable = check_machine, {"--self-test"}
    elif args.against:
        check, applicable = compare_with, {"RUN_DIR"}
    for option, applies_to in APPLIES_TO.items():
        given = getattr(args, option) not in (None, False)
        if given and applies_to not in applicable:
            raise UserError(f"--{option.replace('_', '-')} applies only to {applies_to}")
    return check


def retrain(args: argparse.Namespace) -> dict[str, Any]:
    """Train the run again and compare."""
    from experiments.verification import report, rerun

    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        verifier = rerun.Verifier(args.directory, args.data, Path(scratch))
        print(report.header(verifier.run))
        second, folder = verifier.rerun()
        return print_comparison(verifier.run, second, lambda: verifier.diagnose(second, folder))


def compare_with(args: argparse.Namespace) -> dict[str, Any]:
    """Compare two recorded runs."""
    from experiments.harness.storage import run_record
    from experiments.verification import divergence

    directories = args.directory, args.against
    first, second = map(run_record.read_any, directories)
    divergence.check_comparable(first, second)
    return print_comparison(first, second, lambda: divergence.compare(first, second, directories))


def print_comparison(
    first: Recorded, second: Recorded, find_divergence: Callable[[], Divergence | None]
) -> dict[str, Any]:
    """Compare the environments and, if they are equal, the bits; print and return the result."""
    from experiments.verification import report
    from experiments.verification.divergence import environment_differences

    lines = environment_differences(first.spec.environment, second.spec.environment)
    payload = report.summary(first, second, lines, None if lines else find_divergence())
    print(report.text(payload))
    return payload


def check_machine(args: argparse.Namespace) -> dict[str, Any]:
    """Check for each backend and device that training is reproducible."""
    from experiments.harness.reporting import tables
    from experiments.verification import golden, self_test

    results: list[SelfTestResult] = []
    known_answers: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    wanted = args.backend or (["jax"] if args.portable else ())
    for backend in self_test.backends(wanted):
        try:
            known_answers += self_test.check_known_answers(backend, args.portable)
            results += self_test.run_backend(backend, args.repeats or 3, args.portable)
        except (UserError, ProcessError) as error:
            failures[backend] = str(error)
    rows = [result.to_json() for result in results]
    print(f"\n{tables.self_test(rows)}\n")
    for answers in known_answers:
        print(self_test.describe_known_answers(answers))
    for backend, failure in failures.items():
        print(f"{backend} FAILED: {failure}")
    wrong = any(found["wrong"] for answers in known_answers for found in answers["operations"])
    passed = [result for result in results if result.verdict == "KEPT"]
    for result in passed if args.update_golden and not wrong else ():
        golden.update(result.environment, result.run, result.fingerprints[0])
        print(f"saved {result.run} of {result.environment['backend']} in {golden.PATH}")
    differs = any(result.repository == "OTHER" for result in results) and not args.update_golden
    sound = len(passed) == len(results) and not (differs or failures or wrong)
    if args.portable and not args.update_golden:
        print(self_test.describe_portable(results, sound))
        sound = sound and all(result.repository == "same" for result in results)
    return {"rows": rows, "known_answers": known_answers, "failures": failures, "sound": sound}


if __name__ == "__main__":
    signals.exit_process(main())
