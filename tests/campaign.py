"""Crash anywhere: disturb a run in every way that can be thought of, and compare its bits.

    python -m tests.campaign [--kills N] [--seed S] [--jobs J] [--json FILE]

Real processes of ``reproduce``, on the backend of KERAS_BACKEND, are killed at random moments and
within every step of a save, interrupted, denied the disk, given damaged files and rivals; several
times in a row, then run to the end. Nothing may be lost but the interval under way, and the bits
must be an undisturbed run's. Exit code 1 where they are not. With --json a campaign that is ended
itself goes on with the same command: what is done is kept beside x.json, in x.jsonl.
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
from tests.helpers.process_runs import Place, Whole, undisturbed
from tests.helpers.save_traps import DELETION, MOMENTS

IN_A_ROW = 5  # faults that a run suffers before it may end
ATTEMPTS = 4  # at a fault that came too late, each in a fresh directory, and
EARLIER = 0.9  # by this factor in its life
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
    """Return what is done to each directory: ``kills`` SIGKILLs, and other faults beside them."""
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
    """Return ``count`` faults at random moments, each in its own part of the whole life."""
    drawn = itertools.islice(itertools.cycle(random.sample(whats, len(whats))), count)
    parts = random.sample(range(count), count)
    return [
        Fault(kind, w, (p + random.random()) / count) for w, p in zip(drawn, parts, strict=True)
    ]


def suffer(faults: Sequence[Fault], whole: Whole, folder: Path) -> list[Outcome]:
    """Disturb one run by all faults in turn, then run it to its end; tell each as it is done."""
    outcomes: list[Outcome] = []
    lives = itertools.count()
    place = Place(folder / str(next(lives)), whole)

    def done(fault: Fault) -> Outcome:
        outcomes.append(disturb(place, fault))
        print(line(outcomes[-1]), flush=True)
        return outcomes[-1]

    for fault in faults:
        for attempt in range(ATTEMPTS):
            outcome = done(replace(fault, at=fault.at * EARLIER**attempt))
            if outcome.code == 0:  # the next process is taken to live no longer than this one
                seconds = min(place.whole.seconds, outcome.seconds)
                place = Place(folder / str(next(lives)), replace(whole, seconds=seconds))
            if outcome.struck:
                break
        else:
            outcomes[-1] = replace(outcome, unclear="it never struck")
    if place.directory.exists():
        done(Fault("run again to the end"))
    return outcomes


def line(outcome: Outcome) -> str:
    """Return an outcome as one line."""
    told = [f"exit {outcome.code}, interval {outcome.interval} kept"]
    told += ["too late"] * (not outcome.struck) + [f"{outcome.lost} LOST"] * bool(outcome.lost)
    told += ["WRONG BITS"] * outcome.wrong + [f"UNCLEAR: {outcome.unclear}"] * bool(outcome.unclear)
    return f"{outcome.seconds:5.1f} s  {outcome.fault}: {'; '.join(told)}"


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
    plans: Sequence[Sequence[Fault]], jobs: int, folder: Path, kept: Path | None = None
) -> dict[str, Any]:
    """Carry out all plans, ``jobs`` at a time; return what came of them as JSON types.

    In ``kept`` is what was done before, and what is done is added to it. Raises ``UserError`` where
    it is another campaign's.
    """
    whole = undisturbed([folder / "undisturbed" / str(job) for job in range(jobs)])
    print(f"undisturbed: {whole.seconds:.1f} s, fingerprint {whole.run.fingerprint}", flush=True)
    head = {"plans": repr(plans), "chain": whole.run.chain, "commit": whole.run.commit}
    done = begun(kept, identity.json_digest(head)) if kept else {}
    with ThreadPoolExecutor(jobs) as pool:
        futures = {
            pool.submit(suffer, plan, whole, folder / str(number)): number
            for number, plan in enumerate(plans)
            if number not in done
        }
        try:
            for future in as_completed(futures):
                number, several = futures[future], future.result()
                done[number] = several
                if kept:
                    with kept.open("a") as file:
                        file.write(json.dumps([number, [*map(asdict, several)]]) + "\n")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    outcomes = [each for _, several in sorted(done.items()) for each in several]
    return {
        "fingerprint": whole.run.fingerprint,
        "seconds": whole.seconds,
        "intervals": whole.run.intervals,
        "environment": whole.run.environment,
        "commit": whole.run.commit,
        "table": table(outcomes),
        "right": not any(each.lost or each.wrong or each.unclear for each in outcomes),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def begun(kept: Path, mark: str) -> dict[int, list[Outcome]]:
    """Return what was done before of the campaign of that mark, by the number of its plan."""
    lines = kept.read_text().split("\n")[:-1] if kept.exists() else []  # without a cut one
    if lines[:1] not in ([], [mark]):
        raise UserError(f"{kept} is of another campaign, or of other code; delete it to start over")
    kept.write_text("\n".join([mark, *lines[1:]]) + "\n")
    return {number: [*map(outcome, told)] for number, told in map(json.loads, lines[1:])}


def outcome(told: dict[str, Any]) -> Outcome:
    """Return the outcome that JSON tells of."""
    fault = told["fault"]
    return Outcome(**told | {"fault": Fault(**fault | {"what": tuple(fault["what"])})})


def main() -> int:
    """Run the campaign that the command line asks for; return the exit code."""
    return cli.run_command("campaign", answer, "; with --json run again to go on")


def answer() -> int:
    """Do what was asked and print what comes of it."""
    door = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    door.add_argument("--kills", type=int, default=200, metavar="N", help="default: 200")
    door.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    door.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="J", help="at a time")
    door.add_argument("--json", type=Path, metavar="FILE", help="keep the result")
    asked = door.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    kept = asked.json and asked.json.with_name(f"{asked.json.name}l")
    told = {"kills": asked.kills, "seed": asked.seed, "jobs": asked.jobs}
    told |= campaign(plan(asked.kills, asked.seed), asked.jobs, folder, kept)
    print("\n" + tabulate(told["table"], headers="keys"))
    if asked.json:
        outcomes = ",\n  ".join(map(json.dumps, told.pop("outcomes")))
        head = json.dumps(told, indent=1).removesuffix("\n}")
        asked.json.write_text(f'{head},\n "outcomes": [\n  {outcomes}\n ]\n}}\n')
        kept.unlink()
    if not told["right"]:
        print(f"what was lost or wrong is in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
