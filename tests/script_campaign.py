"""Kill users' scripts anywhere with SIGKILL, run them again, and compare their bits.

    python -m tests.script_campaign [--kills N] [--seed S] [--scripts NAME ...] [--json FILE]

Each script of ``tests.helpers.user_scripts`` is run undisturbed in a process of its own, then
killed in a batch, at an epoch's begin, before its record, in the middle of a save, or at a random
moment, several times in a row, then run to its end. Chain, history and final weights must be the
undisturbed run's; otherwise the exit code is 1. The backend is that of KERAS_BACKEND.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from experiments.harness.runtime import cli, env_vars
from experiments.harness.spec import ScriptRun, UserError
from experiments.harness.storage import checkpoint, run_record
from tests.helpers import save_traps

ROOT = Path(__file__).parents[1]
SCRIPT = "tests.helpers.user_scripts"
NAMES = (  # those of user_scripts, which imports keras
    *("dropout_and_plateau", "schedule_and_averages", "autoencoder", "recurrent", "several_inputs"),
    *("fine_tuning", "adversarial"),
)
TENSORFLOW_ONLY = ("adversarial",)
WITHIN = ("begin", "batch", "end", "last")  # moments of an epoch
TRAPPED = [  # moments of a save
    (moment, name)
    for name in ("state", "history.csv", "digests.csv", "run.json", "model.keras")
    for moment in (*save_traps.MOMENTS, *(save_traps.DELETION if name == "state" else ()))
]
IN_A_ROW = 3
KILLED = -9


def main(argv: Sequence[str] | None = None) -> int:
    """Run the campaign and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scripts", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--json", type=Path)
    return cli.run_command("script_campaign", lambda: answer(parser.parse_args(argv)))


def answer(args: argparse.Namespace) -> int:
    """Kill each script its share of the times; print and save the outcome."""
    backend = env_vars.keras_backend()
    names = [
        name for name in args.scripts if backend == "tensorflow" or name not in TENSORFLOW_ONLY
    ]
    random, rows = Random(args.seed), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
        references = {name: reference(name, Path(scratch) / name / "undisturbed") for name in names}
        while sum(row["kills"] for row in rows) < args.kills:
            name = names[len(rows) % len(names)]
            directory = Path(scratch) / name / f"killed{len(rows)}"
            rows.append(disturb(name, directory, *references[name], random))
            print(json.dumps(rows[-1]), flush=True)
    wrong = [row for row in rows if not row["identical"]]
    kills = sum(row["kills"] for row in rows)
    print(
        f"{backend}: {kills} kills in {len(rows)} runs of {len(names)} scripts, {len(wrong)} wrong"
    )
    if args.json:
        args.json.write_text(json.dumps({"backend": backend, "rows": rows}, indent=1) + "\n")
    return cli.FAILED if wrong else cli.DONE


def reference(name: str, directory: Path) -> tuple[ScriptRun, float]:
    """Run a script undisturbed; return its record, and the seconds that its process took."""
    clock = time.perf_counter()
    if code := run(name, directory):
        raise UserError(f"an undisturbed {name} failed with {code}")
    return read(directory), time.perf_counter() - clock


def disturb(
    name: str, directory: Path, undisturbed: ScriptRun, seconds: float, random: Random
) -> dict[str, Any]:
    """Kill a script up to three times, run it to its end, and compare."""
    killed = []
    for _ in range(IN_A_ROW):
        done = finished_epochs(directory)
        if random.random() < 0.5:
            last = undisturbed.intervals - 1
            where, epoch = random.choice(WITHIN), random.randint(min(done, last), last)
            code = run(name, directory, "--die", where, str(epoch))
            what = f"{where} of epoch {epoch}"
        elif random.random() < 0.6:
            trap = (*random.choice(TRAPPED), "1")
            code = run(name, directory, "--trap", *trap)
            what = f"save: {' '.join(trap)}"
        else:
            after = random.uniform(0.5, 1.0) * seconds
            code = run(name, directory, timeout=after)
            what = f"after {after:.1f} s"
        killed += [what] if code == KILLED else []
        if code not in (0, KILLED):
            return outcome(name, killed, False, f"exit code {code}")
    code = run(name, directory)
    found = read(directory)
    same = code == 0 and (found.chain, found.history) == (undisturbed.chain, undisturbed.history)
    same = same and found.status == "complete" and not found.inexact
    return outcome(name, killed, same, "")


def outcome(name: str, killed: Sequence[str], same: bool, note: str) -> dict[str, Any]:
    row = {"script": name, "kills": len(killed), "killed": [*killed], "identical": same}
    return row | ({"note": note} if note else {})


def run(
    name: str,
    directory: Path,
    *argv: str,
    timeout: float | None = None,
) -> int:
    """Run a script to its end or to its death by SIGKILL, and return its exit code."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", SCRIPT, name, str(directory), *argv],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        _, error = process.communicate()
    if process.returncode not in (0, KILLED):
        print(error[-2000:], file=sys.stderr)
    return process.returncode


def read(directory: Path) -> ScriptRun:
    found = run_record.read_any(directory)
    assert isinstance(found, ScriptRun)
    return found


def finished_epochs(directory: Path) -> int:
    newest, _ = checkpoint.load_newest(directory / "state")
    return newest.interval if newest else 0


if __name__ == "__main__":
    sys.exit(main())
