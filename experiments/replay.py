"""Replay any training step of a run and inspect its tensors; the run itself is only read."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.harness.runtime import cli, cpu, env_vars, signals
from experiments.harness.spec import Run, UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = parser().parse_args(argv)
    return cli.run_command("replay", lambda: answer(args))


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    command = cli.ArgumentParser(
        prog="python -m experiments.replay",
        description=__doc__,
        epilog="The backend is the run's own unless KERAS_BACKEND is set. Exit codes: 0 done, 2 "
        "bad use or bad input, 130 interrupted.",
        parents=cli.shared_flags("data", "json"),
    )
    add = command.add_argument
    # fmt: off
    add("directory", type=cli.local_directory, metavar="RUN_DIR",
        help="a run's directory, with its run.json")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--step", type=int, metavar="N", help="the step to replay, from 1; "
        "history.csv counts the same way")
    which.add_argument("--first-nonfinite", action="store_true", help="replay the first step with "
        "a nonfinite loss or a nonfinite variable after it, and print the cause")
    add("--keep", action="store_true", help="save the result of --first-nonfinite in RUN_DIR, "
        "if it is exact; report shows it on its page, and its records keep it")
    add("--images", type=Path, metavar="FILE.png", help="save the step's batch as a picture")
    # fmt: on
    return command


def check_range(run: Run, step: int | None) -> None:
    """Raise ``UserError`` if ``step`` is not a step of ``run``."""
    last = run.intervals * run.spec.arm.steps
    if step is not None and not 1 <= step <= last:
        raise UserError(f"there is no step {step}: the run has steps 1 to {last}")


def answer(args: argparse.Namespace) -> int:
    """Replay the step and print its tensors."""
    if args.keep and not args.first_nonfinite:
        raise UserError("--keep applies only to --first-nonfinite")
    prepare_numpy(args.directory)
    from experiments.harness.runtime import filesystem
    from experiments.harness.storage import run_directory, run_record  # numpy: not for --help

    run = run_record.read(args.directory)
    check_range(run, args.step)  # before the backend starts: bad use is reported at once
    with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
        start_as_recorded(run)
        payload = replay(run, args)
    from experiments.debugging import report

    if args.keep and payload["story"] and payload["exact"]:
        path = args.directory / run_directory.NAN_CAUSE_FILE
        filesystem.write_atomic(path, report.headline(payload) + "\n")
    print(json.dumps(payload, indent=1) if args.json else report.text(payload))
    return cli.DONE


def prepare_numpy(directory: Path) -> None:
    """If the directory has a portable run, set what NumPy reads when it is imported."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        if cpu.is_portable(json.loads((directory / "run.json").read_text())["environment"]):
            os.environ.update(env_vars.LOADED_ONCE)


def start_as_recorded(run: Run) -> None:
    """Start the run's backend as it was started for the run; another one with its defaults."""
    from experiments.harness.runtime import determinism
    from experiments.verification import causes

    recorded = run.spec.environment
    if os.environ.setdefault("KERAS_BACKEND", recorded["backend"]) == recorded["backend"]:
        determinism.start(**causes.recorded_start(recorded))
    else:
        determinism.start()


def replay(run: Run, args: argparse.Namespace) -> dict[str, Any]:
    """Replay the step, save its batch as a picture if wanted, and return its summary."""
    from experiments.debugging import report
    from experiments.debugging.replay import open_replay
    from experiments.harness.data import sources
    from experiments.harness.runtime import determinism

    dataset = sources.load_recorded(run.spec, args.data)
    with open_replay(run, args.directory, dataset, determinism.environment()) as opened:
        found = opened.inspect(args.step) if args.step else opened.first_nonfinite()
    if found and args.images:
        report.write_picture(dataset.x_train[found.step.indices], args.images)
    return report.summary(opened, found)


if __name__ == "__main__":
    signals.exit_process(main())
