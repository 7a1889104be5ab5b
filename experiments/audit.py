"""Run a training script twice, say whether it repeats to the last bit, and if not, why.

No line of the script changes: each fit, train_on_batch and step of an optimiser is recorded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.harness.runtime import cli, filesystem, signals
from experiments.harness.spec import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = parser().parse_args(argv)
    return cli.run_command("audit", lambda: answer(args))


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    command = cli.ArgumentParser(
        prog="python -m experiments.audit",
        description=__doc__,
        epilog="Exit codes: 0 identical; 1 different, or the script itself failed; 2 bad use; "
        "130 interrupted.",
        parents=cli.shared_flags("json", "fresh"),
    )
    add = command.add_argument
    # fmt: off
    add("script", type=Path, help="a Python script that trains Keras models")
    add("arguments", nargs=argparse.REMAINDER, metavar="...", help="the script's own arguments")
    add("--repeats", type=cli.whole_number(1), default=2, metavar="N",
        help="the number of fresh processes; default: 2")
    add("--no-causes", action="store_true",
        help="say where the runs differ, but do not look for the cause by running it with switches")
    add("--fix", action="store_true",
        help="find the smallest set of switches with which it repeats to its end")
    add("--keep", type=cli.local_directory, metavar="DIR",
        help="keep the runs' records in DIR, for a later --against")
    add("--against", type=cli.local_directory, metavar="DIR",
        help="compare with the audit kept in DIR, too: after an upgrade, or on another machine")
    # fmt: on
    return command


def answer(args: argparse.Namespace) -> int:
    """Audit the script, and print the result."""
    check(args)
    with contextlib.redirect_stdout(sys.stderr):
        payload = audit(args)
    from experiments.auditing import report

    print(json.dumps(payload, indent=1) if args.json else report.text(payload))
    return cli.DONE if payload["sound"] else cli.FAILED


def check(args: argparse.Namespace) -> None:
    """Raise ``UserError`` for arguments that do not go together."""
    if not args.script.is_file():
        raise UserError(f"{args.script} is not a file; name a Python script")
    if args.repeats < 2 and not args.against:
        raise UserError("--repeats 1 compares nothing; use 2 or more, or --against DIR")
    if args.fix and args.no_causes:
        raise UserError("--fix needs the causes; leave out --no-causes")


def audit(args: argparse.Namespace) -> dict[str, Any]:
    """Run the script, compare its runs, and return the result as JSON types."""
    from experiments.auditing import auditor, report
    from experiments.auditing.processes import Script

    earlier = auditor.read_earlier(args.against) if args.against else None
    if args.keep:
        auditor.prepare(args.keep, args.fresh)
    with tempfile.TemporaryDirectory(prefix="audit-") as scratch:
        script = Script(args.script, args.arguments, Path(scratch))
        records = auditor.run_all(script, args.repeats, args.keep or Path(scratch))
        result = auditor.Audit(script, records)
        if found := auditor.first_difference(records):
            result = auditor.diagnose(
                result, *found, find_cause=not args.no_causes, find_fix=args.fix
            )
        elif earlier:
            result = auditor.compare_with_earlier(result, earlier)
        payload = report.summary(result)
        if args.keep:
            text = json.dumps(payload, indent=1)
            filesystem.write_atomic(args.keep / auditor.AUDIT_FILE, text)
    return payload


if __name__ == "__main__":
    signals.exit_process(main())
