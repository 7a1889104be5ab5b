"""Time this harness beside what people would otherwise train with, in turns, on this machine."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from experiments import catalog
from experiments.harness import doors, interrupts
from experiments.harness.doors import tell
from experiments.harness.overrides import resolve
from experiments.harness.spec import Scale, UserError, nearest

NETWORKS: dict[str, tuple[str, str, Scale]] = {  # an experiment's arm, at a scale
    "alexnet-mini": ("alexnet_lr_decay", "fixed_rate", "mini"),
    "mnist-cnn": ("constant_init", "plain_log", "full"),
    "alexnet": ("alexnet_lr_decay", "fixed_rate", "full"),
}
DEFAULT = ("alexnet-mini", "mnist-cnn")


def main(words: Sequence[str] | None = None) -> int:
    """Run the door with the words of a command line; return its exit code."""
    asked = parser().parse_args(words)
    return doors.answered("benchmark", lambda: answer(asked))


def answer(asked: argparse.Namespace) -> int:
    """Measure what was asked for, and print it."""
    with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
        told = benchmark(asked)
    if asked.json:
        print(json.dumps(told, indent=1))
    return doors.DONE


def parser() -> argparse.ArgumentParser:
    """Return the door's argument parser."""
    door = argparse.ArgumentParser(
        prog="python -m experiments.benchmark",
        description=__doc__,
        epilog="Exit codes: 0 done, 1 a process failed, 2 bad use or bad input, 130 interrupted.",
    )
    add = door.add_argument
    # fmt: off
    add("--networks", nargs="+", default=DEFAULT, choices=NETWORKS, metavar="NAME", help="of "
        f"{', '.join(NETWORKS)}; default: the first two")
    add("--full", action="store_true", help="document 002's AlexNet at full size, too")
    add("--ways", nargs="+", default=[], metavar="NAME", help="of harness, fit, documents, torch, "
        "jax; default: all that are installed")
    add("--backends", nargs="+", default=[], metavar="NAME", help="default: all that are installed")
    add("--rounds", type=doors.whole(1), metavar="N", help="default: 10")
    add("--data", default="mnist", metavar="SOURCE", help="as for reproduce")
    add("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    # fmt: on
    return door
