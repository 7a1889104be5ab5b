"""What every door does alike: exit codes, errors as one line, words of a command line."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from experiments.harness.runtime import signals
from experiments.harness.spec import ProcessError, UserError

DONE, FAILED, BAD_USE = 0, 1, 2


class ArgumentParser(argparse.ArgumentParser):
    """The words of a door; what it does not take is one line on stderr, as all bad input."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_USE, f"{self.prog.rpartition('.')[2]}: {message}; --help tells the words\n")


def run_command(door: str, work: Callable[[], int], after_interrupt: str = "") -> int:
    """Return the exit code of ``work()``; an error for the user becomes one line on stderr."""
    try:
        with signals.handle_signals():
            code = work()
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # whoever reads it has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (UserError, OSError, MemoryError) as error:
        print(f"{door}: {str(error) or 'out of memory'}", file=sys.stderr)
        return BAD_USE
    except ProcessError as error:
        print(f"{door}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"\n{door}: interrupted{after_interrupt}", file=sys.stderr)
        return signals.INTERRUPTED


def print_line(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def whole_number(least: int, below: float = math.inf) -> Callable[[str], int]:
    """Return a type for ``argparse``: whole numbers from ``least`` on, and ``below`` a bound."""

    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and least <= int(text) < below:
            return int(text)
        bound = f" and below {below}" if below < math.inf else ""
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on{bound}")

    return parse


def minutes(text: str) -> float:
    """Parse a time in minutes, more than none; fractions are allowed."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < 60 * value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes above 0")
    return value


def key_value(text: str) -> tuple[str, Any]:
    """Parse ``key=value``; the value as JSON where it is JSON, else as a string."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value
