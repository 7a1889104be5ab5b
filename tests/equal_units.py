"""On which backends do equal units become unequal by themselves?

    python -m tests.equal_units LOGDIR [LOGDIR ...] [--json FILE]

Reads the runs of ``symmetry_breaking``'s arm ``equal`` in log directories of any backend, with and
without deterministic operations, and prints a row for each: the first step after which the units
of a hidden layer are seen to differ, and the test accuracy after the document's 7,000 steps and
after the last. Train them with

    KERAS_BACKEND=jax python -m experiments.reproduce symmetry_breaking --arm equal --scale full
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.catalog.symmetry_breaking import HIDDEN
from experiments.harness.reporting import log_reader, tables
from experiments.harness.runtime import filesystem
from experiments.harness.spec import Run

ARM = "symmetry_breaking:equal"
DOCUMENTED_STEPS = 7_000  # after these the document has 56 %


def is_evidence(run: Run) -> bool:
    """Return whether a run is of the arm, has stopped, and was trained by committed code."""
    stopped = run.status != "running" and run.history.rows
    return bool(stopped) and run.spec.arm_id == ARM and not str(run.commit).endswith(("+", "None"))


def row(run: Run) -> dict[str, Any]:
    """Return what the table says of a run."""
    history = run.history
    layers = {name: history[f"{name}_distinct"] for name in HIDDEN}
    spreads = {name: history[f"{name}_spread"] for name in HIDDEN}
    most = [max(counts) for counts in zip(*layers.values(), strict=True)]
    accuracies = dict(zip(history["step"], history["test_accuracy"], strict=True))
    differ = [step for step, count in zip(history["step"], most, strict=True) if count > 1]
    return {
        "environment": dict(run.spec.environment),
        "commit": run.commit,
        "started": run.started,
        "fingerprint": run.fingerprint,
        "dataset": run.spec.dataset["name"],
        "scale": run.spec.scale,
        "seed": run.spec.seed,
        "status": run.status,
        "steps": int(history["step"][-1]),
        "unequal_from": int(differ[0]) if differ else None,
        "spread": {name: [spreads[name][0], spreads[name][-1]] for name in HIDDEN},
        "distinct": {name: int(counts[-1]) for name, counts in layers.items()},
        "test_accuracy_at_7000": accuracies.get(DOCUMENTED_STEPS),
        "test_accuracy": history["test_accuracy"][-1],
    }


def with_recorded(rows: Sequence[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Return the rows of the record at ``path``, if any, and new ones; of a run the longer one."""
    longest: dict[str, dict[str, Any]] = {}
    recorded = json.loads(path.read_text())["rows"] if path.exists() else []
    for row in [*recorded, *rows]:
        run = [row[name] for name in ("environment", "dataset", "scale", "seed")]
        key = json.dumps(run, sort_keys=True)
        if row["steps"] >= longest.get(key, row)["steps"]:
            longest[key] = row
    return [*longest.values()]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table of the runs found; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logdir", nargs="+", type=Path)
    parser.add_argument("--json", type=Path, metavar="FILE", help="add them to this record, too")
    args = parser.parse_args(argv)
    runs = [run for logdir in args.logdir for run in log_reader.find_runs(logdir)]
    rows = [row(run) for run in runs if is_evidence(run)]
    if not rows:
        parser.error("no run of the arm that has stopped, of committed code, in these folders")
    if args.json:
        record = {"rows": with_recorded(rows, args.json)}
        filesystem.write_atomic(args.json, json.dumps(record, indent=1) + "\n")
    print(tables.equal_units({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
