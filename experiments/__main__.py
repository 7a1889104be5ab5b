"""The commands under one name: ``rerun-zoo reproduce ...``, or ``python -m experiments ...``."""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

COMMANDS = {
    "reproduce": "train the runs of a documented experiment and judge its claims",
    "verify": "check that a run repeats to the last bit, or that this machine can do so",
    "replay": "replay a training step of a run and inspect its tensors",
    "tune": "search initial weights and learning rate with KerasTuner",
    "report": "judge the runs in a log directory and write one page about them",
    "benchmark": "time this harness beside other ways to train",
}


def main() -> NoReturn:
    """Run the command named by the first argument with the remaining ones."""
    name, *argv = sys.argv[1:] or ["--help"]
    if name not in COMMANDS:
        is_help = name in ("-h", "--help")
        lines = [f"  {command:11}{purpose}" for command, purpose in COMMANDS.items()]
        usage = "\n".join(["usage: rerun-zoo COMMAND ...; COMMAND --help lists its flags", *lines])
        unknown = f"rerun-zoo: unknown command {name!r}; commands: {', '.join(COMMANDS)}"
        print(usage if is_help else unknown, file=sys.stdout if is_help else sys.stderr)
        sys.exit(0 if is_help else 2)
    from experiments.harness.runtime import signals

    signals.exit_process(importlib.import_module(f"experiments.{name}").main(argv))


if __name__ == "__main__":
    main()
