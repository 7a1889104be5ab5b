"""Crash anywhere: disturb a run in many ways, and compare its bits.

    python -m tests.campaign [--kills N] [--seed S] [--jobs J] [--json FILE]

Real processes of ``reproduce``, on the backend of KERAS_BACKEND, are killed at random moments and
within every step of a save, interrupted, denied the disk, and given damaged files and rival
processes; several times in a row, then run to the end. At most the current interval may be lost,
and the bits must be an undisturbed run's; otherwise the exit code is 1. With --json FILE an
interrupted campaign resumes with the same command: finished plans are saved in FILE + "l".
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

from tabulate import tabulate

from experiments.harness.runtime import cli
from experiments.harness.spec import UserError, identity
from tests.helpers.fault_injection import CODES, KINDS, Fault, Outcome, disturb
from tests.helpers.process_runs import Reference, Target, train_reference
from tests.helpers.save_traps import DELETION, MOMENTS

IN_A_ROW = 5  # faults of a run before it may end
ATTEMPTS = 4  # at a fault that came too late, each in a fresh directory and
EARLIER = 0.9  # earlier by this factor
# written after each interval, and at the end
EACH = ("state", "history.csv", "digests.csv", "AlexNet.csv", "run.json")
LAST = ("model.keras", "curves-part.png")
STEPS = [(moment, name) for name in EACH + LAST for moment in MOMENTS]
STEPS += [(moment, "state") for moment in DELETION]
FULL = [(moment, name) for name in EACH + LAST for moment in ("half", "synced")]
SIGNALS = [(name,) for name in CODES]
DAMAGED = (
    ("newest", "cut"),
    ("newest", "flip"),
    ("both", "flip"),
    ("run.json", "cut"),
    ("history.csv", "cut"),
    ("digests.csv", "cut"),
)


def plan(kills: int, seed: int) -> list[list[Fault]]:
    """Return the faults of each directory: ``kills`` SIGKILLs, and others besides."""
    random, others = Random(seed), max(1, kills // 10)
    anyhow: list[tuple[str, ...]] = [()]
    faults = [
        *spread(random, "SIGKILL at any moment", anyhow, kills - kills // 2),
        *within(random, "SIGKILL within a save", STEPS, kills // 2),
        *spread(random, "SIGINT or SIGTERM at any moment", SIGNALS, max(2, others)),
        *within(random, "SIGINT within a save", STEPS, others),
        *within(random, "disk full within a save", FULL, others),
        *spread(random, "disk full at any moment", anyhow, others),
        *spread(random, "files damaged", DAMAGED, others),
        *[Fault("two processes")] * others,
    ]
    random.shuffle(faults)
    rows = [faults[i : i + IN_A_ROW] for i in range(0, len(faults), IN_A_ROW)]
    return [sorted(row, key=lambda fault: not {*LAST}.isdisjoint(fault.what)) for row in rows]


def within(random: Random, kind: str, steps: Sequence[tuple[str, str]], count: int) -> list[Fault]:
    """Return ``count`` faults within a step of a save, at its first visit or at its second."""
    drawn = itertools.islice(itertools.cycle(random.sample(steps, len(steps))), count)
    nth = [(*step, "1" if step[1] in LAST else str(random.randint(1, 2))) for step in drawn]
    return [Fault(kind, what) for what in nth]


def spread(random: Random, kind: str, whats: Sequence[tuple[str, ...]], count: int) -> list[Fault]:
    """Return ``count`` faults at random moments, spread over a process's work."""
    drawn = itertools.islice(itertools.cycle(random.sample(whats, len(whats))), count)
    parts = random.sample(range(count), count)
    return [
        Fault(kind, w, (p + random.random()) / count) for w, p in zip(drawn, parts, strict=True)
    ]


def disturb_run(faults: Sequence[Fault], reference: Reference, folder: Path) -> list[Outcome]:
    """Disturb one run by all faults in turn, then train it to its end; print each outcome."""
    outcomes: list[Outcome] = []
    numbers = itertools.count()
    target = Target(folder / str(next(numbers)), reference)

    def strike(fault: Fault) -> Outcome:
        outcomes.append(disturb(target, fault))
        print(line(outcomes[-1]), flush=True)
        return outcomes[-1]

    for fault in faults:
        for attempt in range(ATTEMPTS):
            outcome = strike(replace(fault, at=fault.at * EARLIER**attempt))
            if outcome.code == 0:  # assume that the next process takes no longer than this one
                seconds = min(target.reference.seconds, outcome.seconds)
                target = Target(folder / str(next(numbers)), replace(reference, seconds=seconds))
            if outcome.struck:
                break
        else:
            outcomes[-1] = replace(outcome, unclear="it never struck")
    if target.directory.exists():
        strike(Fault("run again to the end"))
    return outcomes


def line(outcome: Outcome) -> str:
    """Return an outcome as one line."""
    facts = [f"exit {outcome.code}, interval {outcome.interval} saved"]
    facts += ["too late"] * (not outcome.struck) + [f"{outcome.lost} LOST"] * bool(outcome.lost)
    facts += ["WRONG BITS"] * outcome.wrong
    facts += [f"UNCLEAR: {outcome.unclear}"] * bool(outcome.unclear)
    return f"{outcome.seconds:5.1f} s  {outcome.fault}: {'; '.join(facts)}"


def table(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return a row for each kind of fault."""
    rows = []
    for kind in KINDS:
        found = [outcome for outcome in outcomes if outcome.fault.kind == kind]
        struck = [outcome for outcome in found if outcome.struck]
        rows.append(
            {
                "fault": kind,
                "count": len(struck),
                "intervals lost": sum(outcome.lost for outcome in found),
                "wrong fingerprints": sum(outcome.wrong for outcome in found),
                "unclear endings": sum(bool(outcome.unclear) for outcome in found),
                "came too late": len(found) - len(struck),
            }
        )
    return rows


def campaign(
    plans: Sequence[Sequence[Fault]], jobs: int, folder: Path, journal: Path | None = None
) -> dict[str, Any]:
    """Carry out all plans, ``jobs`` at a time; return the outcomes as JSON types.

    The plans in ``journal`` are not repeated, and finished ones are added to it. Raises
    ``UserError`` if it belongs to another campaign.
    """
    reference = train_reference([folder / "undisturbed" / str(job) for job in range(jobs)])
    run = reference.run
    print(f"undisturbed: {reference.seconds:.1f} s, fingerprint {run.fingerprint}", flush=True)
    identity_here = {"plans": repr(plans), "chain": run.chain, "commit": run.commit}
    finished = open_journal(journal, identity.json_digest(identity_here)) if journal else {}
    with ThreadPoolExecutor(jobs) as pool:
        futures = {
            pool.submit(disturb_run, plan, reference, folder / str(number)): number
            for number, plan in enumerate(plans)
            if number not in finished
        }
        try:
            for future in as_completed(futures):
                number, outcomes = futures[future], future.result()
                finished[number] = outcomes
                if journal:
                    with journal.open("a") as file:
                        file.write(json.dumps([number, [*map(asdict, outcomes)]]) + "\n")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    outcomes = [outcome for _, several in sorted(finished.items()) for outcome in several]
    return {
        "fingerprint": run.fingerprint,
        "seconds": reference.seconds,
        "intervals": run.intervals,
        "environment": run.spec.environment,
        "commit": run.commit,
        "table": table(outcomes),
        "right": not any(each.lost or each.wrong or each.unclear for each in outcomes),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def open_journal(path: Path, digest: str) -> dict[int, list[Outcome]]:
    """Return the outcomes of the finished plans by number; start the journal if there is none."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []  # drops a cut line
    if lines[:1] not in ([], [digest]):
        raise UserError(f"{path} is of another campaign, or of other code; delete it to start over")
    path.write_text("\n".join([digest, *lines[1:]]) + "\n")
    return {
        number: [*map(outcome_from_json, payload)] for number, payload in map(json.loads, lines[1:])
    }


def outcome_from_json(payload: dict[str, Any]) -> Outcome:
    fault = payload["fault"]
    return Outcome(**payload | {"fault": Fault(**fault | {"what": tuple(fault["what"])})})


def main() -> int:
    """Run the campaign and return the exit code."""
    return cli.run_command("campaign", answer, "; with --json run again to resume")


def answer() -> int:
    """Carry out the campaign and print its table."""
    command = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    add = command.add_argument
    add("--kills", type=int, default=200, metavar="N", help="default: 200")
    add("--seed", type=int, default=0, metavar="S", help="default: 0")
    add("--jobs", type=int, default=os.cpu_count(), metavar="J", help="processes at a time")
    add("--json", type=Path, metavar="FILE", help="save the result")
    args = command.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    journal = args.json and args.json.with_name(f"{args.json.name}l")
    payload = {"kills": args.kills, "seed": args.seed, "jobs": args.jobs}
    payload |= campaign(plan(args.kills, args.seed), args.jobs, folder, journal)
    print("\n" + tabulate(payload["table"], headers="keys"))
    if args.json:
        outcomes = ",\n  ".join(map(json.dumps, payload.pop("outcomes")))
        head = json.dumps(payload, indent=1).removesuffix("\n}")
        args.json.write_text(f'{head},\n "outcomes": [\n  {outcomes}\n ]\n}}\n')
        journal.unlink()
    if not payload["right"]:
        print(f"the runs with losses or wrong bits are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
