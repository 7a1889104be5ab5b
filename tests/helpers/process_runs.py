"""The processes and the directory of one tiny run that a campaign disturbs and checks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from experiments.harness.spec import Run, UserError
from experiments.harness.storage import checkpoint, run_record

ROOT = Path(__file__).parents[2]
TINY = ["network.width=0.0625", "batch_size=8", "steps=10", "intervals=8", "test_examples=20"]
ARM = ["--arm", "fixed_rate", "--scale", "mini", "--data", "digits", "--seed", "0"]
ARGV = ["alexnet_lr_decay", *ARM, "--set", *TINY]
TIMEOUT = 1800  # seconds, after which a process hangs

Process = subprocess.Popen[str]


@dataclass(frozen=True)
class Ended:
    """How a process ended; ``known`` is the newest interval that was on disk before the fault."""

    code: int
    out: str
    error: str
    known: int = -1

    @property
    def refused(self) -> bool:
        """Whether it ended as on bad input: with exit code 2 and one clear line."""
        return self.code == 2 and self.error.startswith("reproduce: ") and self.lines == 1

    @property
    def lines(self) -> int:
        return len(self.error.strip().splitlines())


def start(logdir: Path, *trap: str) -> Process:
    """Start ``reproduce`` on the run in ``logdir``, with a trap (``save_traps``) if given."""
    module = ["tests.helpers.save_traps", *trap, "--"] if trap else ["experiments.reproduce"]
    return subprocess.Popen(
        [sys.executable, "-m", *module, *ARGV, "--logdir", str(logdir)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def end(process: Process, known: int = -1) -> Ended:
    """Wait for a process to end; kill one that hangs, and note that in its error."""
    try:
        out, error = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, error = process.communicate()
        error += "it hung\n"
    return Ended(process.returncode, out, error, known)


@dataclass(frozen=True)
class Reference:
    """An undisturbed run, whose bits all others must have.

    Its process took ``seconds``; ``training`` is the share of them spent training.
    """

    run: Run
    folder: Path
    tables: dict[str, bytes]
    seconds: float
    training: float


def train_reference(logdirs: Sequence[Path]) -> Reference:
    """Train the run in all directories at once; ``UserError`` if that fails or they differ."""
    clock = time.perf_counter()
    for process in [start(logdir) for logdir in logdirs]:
        if (ended := end(process)).code:
            raise UserError(f"an undisturbed run failed: {ended.error}")
    seconds = time.perf_counter() - clock
    (found,) = logdirs[0].rglob("run.json")
    folder = found.parent.relative_to(logdirs[0])
    runs = [run for logdir in logdirs if (run := run_record.load(logdir / folder))]
    if len({run.fingerprint for run in runs}) != 1:
        raise UserError("undisturbed runs differ")
    training = runs[0].seconds / seconds
    return Reference(runs[0], folder, tables(found.parent), seconds, training)


def tables(directory: Path) -> dict[str, bytes]:
    """Return the content of every CSV file in a run's directory."""
    return {path.name: path.read_bytes() for path in directory.glob("*.csv")}


@dataclass(frozen=True)
class Target:
    """A log directory with one run that is disturbed again and again, then trained to its end."""

    logdir: Path
    reference: Reference

    @property
    def directory(self) -> Path:
        return self.logdir / self.reference.folder

    @property
    def checkpoint(self) -> checkpoint.Checkpoint | None:
        """The newest valid checkpoint."""
        return checkpoint.load_newest(self.directory / "state")[0]

    @property
    def interval(self) -> int:
        """The newest valid checkpoint's interval, 0 if there is none."""
        return newest.interval if (newest := self.checkpoint) else 0

    @property
    def recorded(self) -> int:
        """The number of intervals in ``run.json``, 0 if it is absent or damaged."""
        with suppress(OSError, ValueError):
            return json.loads((self.directory / "run.json").read_text())["intervals_done"]
        return 0

    def after(self, share: float) -> float:
        """Return the seconds after which a process has done a share of its work."""
        trained = self.interval / self.reference.run.intervals * self.reference.training
        return share * (1 - trained) * self.reference.seconds

    def is_wrong(self) -> bool:
        """Return whether the newest checkpoint differs from the undisturbed run's there."""
        newest = self.checkpoint
        return bool(newest and newest.chain != self.reference.run.chain[: len(newest.chain)])

    def is_whole(self) -> bool:
        """Return whether the run ended with the reference's bits and left no temporary file."""
        run = run_record.load(self.directory)
        same = run and (run.status, run.chain) == ("complete", self.reference.run.chain)
        left = [*self.logdir.rglob(".tmp.*")]
        return bool(same) and tables(self.directory) == self.reference.tables and not left

    def record_error(self) -> str:
        """Return why the record cannot be read; empty if it is valid or absent."""
        if (self.directory / "run.json").exists():
            try:
                run_record.read(self.directory)
            except UserError as error:
                return str(error)
        return ""
