"""Does the portable profile give the same bits on other processors, and with other threads?

    python -m tests.portability [--models M ...] [--threads N ...] [--arms A ...] [--json FILE]

Trains the self-test's short runs and two steps of a small version of each arm here, then again with
fewer visible processors, and again under QEMU as other processors, with other vendors, extensions
and caches. All links and tensors must be equal. As a control it trains one arm with the default
profile, which must differ under some processor, or the emulation proves nothing. Exit code 1
otherwise. It takes hours: a step is compiled in minutes under QEMU. With --json FILE an interrupted
call resumes, and the table is of all that the file has.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.harness.reporting import tables
from experiments.harness.runtime import cli, cpu, filesystem, subprocesses
from experiments.harness.spec import UserError
from experiments.harness.storage import provenance
from tests.helpers.portable_runs import ARMS, CONTROL

QEMU = "qemu-x86_64"  # of Debian's package qemu-user
TRAIN = "tests.helpers.portable_runs:train"
MODELS = ("Haswell", "Broadwell", "Skylake-Client", "EPYC", "EPYC-Rome", "EPYC-Milan")
THREADS = (1, 2, 4)
HERE = "here"


@dataclass(frozen=True)
class Case:
    """One training of an arm: on which ``machine``, and with which profile."""

    machine: str
    arm: str
    portable: bool = True

    @property
    def name(self) -> str:
        """The name in the JSON file."""
        return f"{self.arm}, {'portable' if self.portable else 'default'}, {self.machine}"

    @property
    def launcher(self) -> list[str]:
        """The command that starts a process on the machine."""
        kind, _, which = self.machine.partition(" ")
        if kind == "qemu":
            return [QEMU, "-cpu", which]
        return ["taskset", "-c", f"0-{int(which) - 1}"] if kind == "threads" else []


def cases(models: Sequence[str], threads: Sequence[int], arms: Sequence[str]) -> list[Case]:
    """Return the trainings, those of an arm together, the reference first, the control last."""
    counts = [count for count in threads if count <= cpu.available_count()]
    emulated = [f"qemu {model}" for model in models]
    machines = [HERE, *(f"threads {n}" for n in counts), *emulated]
    control = [Case(machine, CONTROL, portable=False) for machine in (HERE, *emulated)]
    return [*(Case(machine, arm) for arm in arms for machine in machines), *control]


def run(wanted: Sequence[Case], path: Path | None) -> dict[str, Any]:
    """Train all cases that are not in ``path``, and return all results in it."""
    results = json.loads(path.read_text())["results"] if path and path.exists() else {}
    for case in wanted:
        if case.name not in results:
            print(f"{case.name} ...", flush=True)
            arguments = {"name": case.arm, "portable": case.portable}
            trained = subprocesses.call(TRAIN, arguments, backend="jax", launcher=case.launcher)
            results[case.name] = {"case": asdict(case), **trained}
            if path:
                filesystem.write_atomic(path, json.dumps(summary(results), indent=1) + "\n")
    return summary(results)


def summary(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results, and a row for each that is compared with that of this machine."""
    rows = []
    for result in results.values():
        case = Case(**result["case"])
        if case.machine != HERE:
            differing = difference(results[replace(case, machine=HERE).name], result)
            rows.append({**asdict(case), "fingerprint": result["chain"][-1], "differs": differing})
    control = any(row["differs"] for row in rows if not row["portable"])
    equal = not any(row["differs"] for row in rows if row["portable"])
    return {
        "processor": cpu.describe(),
        "commit": provenance.commit(),
        "right": equal and control,
        "table": rows,
        "results": dict(results),
    }


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Return the first interval and tensors that differ; empty if all links are equal."""
    for interval, (one, other) in enumerate(zip(a["digests"], b["digests"], strict=True)):
        if names := [name for name in one if one[name] != other[name]]:
            return f"interval {interval}: {', '.join(names[:3])}{', ...' * (len(names) > 3)}"
    return "" if a["chain"] == b["chain"] else "metrics"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool and return its exit code."""
    command = cli.ArgumentParser(prog="python -m tests.portability", description=__doc__)
    add = command.add_argument
    add("--models", nargs="*", default=MODELS, help=f"QEMU's names; default: {' '.join(MODELS)}")
    add(
        "--threads", nargs="*", type=int, default=THREADS, help="visible processors; default: 1 2 4"
    )
    add("--arms", nargs="+", default=ARMS, choices=ARMS, metavar="ARM", help="default: all")
    add("--json", type=Path, metavar="FILE", help="save the results, and resume from them")
    args = command.parse_args(argv)
    return cli.run_command("portability", lambda: answer(args))


def answer(args: argparse.Namespace) -> int:
    """Run what the arguments ask for and print the table."""
    models = list(args.models)
    if models and not shutil.which(QEMU):
        print(f"{QEMU} is not installed (Debian: qemu-user): no other processor is emulated")
        models = []
    if unknown := [model for model in models if model not in MODELS]:
        raise UserError(f"unknown model {unknown[0]}; known are {', '.join(MODELS)}")
    result = run(cases(models, args.threads, args.arms), args.json)
    print(tables.portability(result))
    return cli.DONE if result["right"] else cli.FAILED


if __name__ == "__main__":
    sys.exit(main())
