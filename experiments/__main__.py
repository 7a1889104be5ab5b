"""The commands under one name: ``rerun-zoo reproduce ...``, or ``python -m experiments ...``."""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

COMMANDS = {
    "reproduce": "train the runs of a documented experiment and judge its claims",
    "verify": "check that a run repeats to the last bit, or that this machine can do so",
    "audit": "run your own training script twice and say where and why it differs",
    "replay": "replay a training step of a run and inspect its tensors",
    "tune": "search initial weights and learning rate with KerasTuner",
    "report": "judge the runs in a log directory and write one page about them",
    "benchmark": "time this harness beside other ways to train",
}


def main() -> NoReturn:
    """Run the command named by the first argument with the remaining ones."""
    name, *argv = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        sys.exit(0)
    if name not in COMMANDS:
        commands = ", ".join(COMMANDS)
        print(f"rerun-zoo: unknown command {name!r}; commands: {commands}", file=sys.stderr)
        sys.exit(2)
    from experiments.harness.runtime import signals

    signals.exit_process(importlib.import_module(f"experiments.{name}").main(argv))


def usage() -> str:
    """Return the list of commands."""
    lines = [f"  {command:11}{purpose}" for command, purpose in COMMANDS.items()]
    return "\n".join(["usage: rerun-zoo COMMAND ...; COMMAND --help lists its flags", *lines])


if __name__ == "__main__":
    main()
