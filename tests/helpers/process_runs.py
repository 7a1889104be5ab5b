"""The processes and the directory of one tiny run, that a campaign starts, strikes and checks."""

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
WORDS = ["alexnet_lr_decay", *ARM, "--set", *TINY]
PATIENCE = 1800  # seconds, after which a process hangs

Process = subprocess.Popen[str]


@dataclass(frozen=True)
class Ended:
    """How a process ended, and the newest interval that was on disk before it was struck."""

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
    """Start ``reproduce`` on the run in ``logdir``, with a trap of ``tests.helpers.save_traps`` where given."""
    module = ["tests.helpers.save_traps", *trap, "--"] if trap else ["experiments.reproduce"]
    return subprocess.Popen(
        [sys.executable, "-m", *module, *WORDS, "--logdir", str(logdir)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def end(process: Process, known: int = -1) -> Ended:
    """Wait for a process to end; one that hangs is killed, and its error says so."""
    try:
        out, error = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, error = process.communicate()
        error += "it hung\n"
    return Ended(process.returncode, out, error, known)


@dataclass(frozen=True)
class Whole:
    """An undisturbed run, which all others must come to.

    Its process lived for ``seconds``, and trained for a share of them.
    """

    run: Run
    folder: Path
    tables: dict[str, bytes]
    seconds: float
    training: float


def undisturbed(logdirs: Sequence[Path]) -> Whole:
    """Make the run in all directories at once; ``UserError`` where it fails or they differ."""
    begun = time.perf_counter()
    for process in [start(logdir) for logdir in logdirs]:
        if (ended := end(process)).code:
            raise UserError(f"an undisturbed run failed: {ended.error}")
    seconds = time.perf_counter() - begun
    (found,) = logdirs[0].rglob("run.json")
    folder = found.parent.relative_to(logdirs[0])
    runs = [run for logdir in logdirs if (run := run_record.load(logdir / folder))]
    if len({run.fingerprint for run in runs}) != 1:
        raise UserError("undisturbed runs differ")
    training = runs[0].seconds / seconds
    return Whole(runs[0], folder, tables(found.parent), seconds, training)


def tables(directory: Path) -> dict[str, bytes]:
    """Return the content of every CSV file in a run's directory."""
    return {path.name: path.read_bytes() for path in directory.glob("*.csv")}


@dataclass(frozen=True)
class Place:
    """A log directory in which one run is struck again and again, then brought to its end."""

    logdir: Path
    whole: Whole

    @property
    def directory(self) -> Path:
        return self.logdir / self.whole.folder

    @property
    def kept(self) -> checkpoint.Checkpoint | None:
        """The newest sound state."""
        return checkpoint.load_newest(self.directory / "state")[0]

    @property
    def interval(self) -> int:
        """The newest sound state's interval, 0 where there is none."""
        return kept.interval if (kept := self.kept) else 0

    @property
    def told(self) -> int:
        """How many intervals ``run.json`` tells of, 0 where there is none or it is damaged."""
        with suppress(OSError, ValueError):
            return json.loads((self.directory / "run.json").read_text())["intervals_done"]
        return 0

    def after(self, share: float) -> float:
        """Return after how many seconds a process will have lived a share of its life."""
        trained = self.interval / self.whole.run.intervals * self.whole.training
        return share * (1 - trained) * self.whole.seconds

    def is_wrong(self) -> bool:
        """Return whether the newest state is other than the undisturbed run's was there."""
        kept = self.kept
        return bool(kept and kept.chain != self.whole.run.chain[: len(kept.chain)])

    def is_whole(self) -> bool:
        """Return whether the run ended in the undisturbed run's bits and left nothing half."""
        found = run_record.load(self.directory)
        same = found and (found.status, found.chain) == ("complete", self.whole.run.chain)
        left = [*self.logdir.rglob(".tmp.*")]
        return bool(same) and tables(self.directory) == self.whole.tables and not left

    def torn(self) -> str:
        """Return what is wrong with the record, in words; empty where it is sound or absent."""
        told: list[str] = []
        with suppress(UserError):
            run_record.load(self.directory, told.append)
            return "".join(told)
        return "no record and no state"
