"""A door, called in a process of its own by way of ``experiments.forensics.elsewhere``."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from experiments.joblist.ledger import PRINTED, TOLD


def door(name: str, words: Sequence[str], folder: str) -> int:
    """Return the door's exit code; what it prints goes into files in ``folder``."""
    printed, told = Path(folder, PRINTED), Path(folder, TOLD)
    with (
        printed.open("w") as out,
        told.open("a") as error,
        redirect_stdout(out),
        redirect_stderr(error),
    ):
        try:
            return importlib.import_module(f"experiments.{name}").main(words)
        except SystemExit as refused:  # argparse's
            return int(refused.code or 0)
