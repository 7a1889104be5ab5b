"""Visit any training step of a run again, and look inside; the run itself is only read."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.harness.runtime import cli, filesystem, signals
from experiments.harness.spec import Run, UserError
from experiments.harness.storage import run_directory, run_record


def main(words: Sequence[str] | None = None) -> int:
    """Run the door with the words of a command line; return its exit code."""
    asked = parser().parse_args(words)
    return cli.run_command("replay", lambda: replay(asked))


def parser() -> argparse.ArgumentParser:
    """Return the door's argument parser."""
    door = cli.ArgumentParser(
        prog="python -m experiments.replay",
        description=__doc__,
        epilog="The backend is the run's own unless KERAS_BACKEND says otherwise. Exit codes: "
        "0 done, 2 bad use or bad input, 130 interrupted.",
    )
    add = door.add_argument
    # fmt: off
    add("directory", type=Path, metavar="RUN_DIR", help="a run's directory, with its run.json")
    which = door.add_mutually_exclusive_group(required=True)
    which.add_argument("--step", type=int, metavar="N", help="from 1, as history.csv counts")
    which.add_argument("--first-nonfinite", action="store_true", help="the first step whose loss, "
        "or a variable after it, is not finite, and why")
    add("--data", metavar="SOURCE", help="the data that the run was trained on, as for reproduce")
    add("--keep", action="store_true", help="leave what --first-nonfinite tells in RUN_DIR, if it "
        "is exact: report shows it on its page")
    add("--images", type=Path, metavar="FILE.png", help="save the step's batch as a picture")
    add("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    # fmt: on
    return door


def check_range(run: Run, step: int | None) -> None:
    """Raise ``UserError`` where ``run`` did not make ``step``."""
    made = run.intervals * run.arm.steps
    if step is not None and not 1 <= step <= made:
        raise UserError(f"there is no step {step}: the run made steps 1 to {made}")


def replay(asked: argparse.Namespace) -> int:
    """Visit the step that was asked for, and print what is found there."""
    if asked.keep and not asked.first_nonfinite:
        raise UserError("--keep is for --first-nonfinite")
    run = run_record.read(asked.directory)
    check_range(run, asked.step)  # before the slow imports: bad use answers at once
    from experiments.harness.data import sources
    from experiments.harness.runtime import determinism
    from experiments.verification import causes

    backend = os.environ.setdefault("KERAS_BACKEND", run.environment["backend"])
    again = causes.recorded_start(run.environment) if backend == run.environment["backend"] else {}
    with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
        environment = determinism.start(**again)
        from experiments.debugging import report
        from experiments.debugging.replay import open_replay

        dataset = sources.load_recorded(run, asked.data)
        with open_replay(run, asked.directory, dataset, environment, cli.print_line) as made:
            visit = made.visit(asked.step) if asked.step else made.first_nonfinite()
        if visit and asked.images:
            report.picture(dataset.x_train[visit.step.indices], asked.images)
        told = report.summary(made, visit)
    if asked.keep and told["story"] and told["exact"]:
        filesystem.write_atomic(
            asked.directory / run_directory.NAN_CAUSE_FILE, report.headline(told) + "\n"
        )
    print(json.dumps(told, indent=1) if asked.json else report.text(told))
    return cli.DONE


if __name__ == "__main__":
    signals.exit_process(main())
