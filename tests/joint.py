"""Runs that are trained together, in processes of their own, with JAX."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments import catalog, reproduce
from experiments.forensics import retracing
from experiments.harness import determinism, grouping, interrupts, making, mnist, record, study
from experiments.harness import state as states
from experiments.harness.spec import Run, UserError

TINY = {
    "network.widths": [2, 4, 8],
    "batch_size": 8,
    "steps": 3,
    "intervals": 3,
    "test_examples": 50,
    "test_batch": 20,  # which leaves a smaller batch at the end
}
CHOSEN = ["--arm", "std_0.03", "std_0.1", "--seed", "0", "1"]
WORDS = ["init_std_sweep", "--scale", "mini", "--data", "digits", *CHOSEN]
WORDS += ["--set", *(f"{path}={value}" for path, value in TINY.items())]
DIGITS = mnist.load("digits")[0]
Told = dict[str, Any]


def planned(how: Callable[[int], str] | None = None) -> list[Run]:
    """Return the four runs that ``WORDS`` asks for, trained together as ``how`` says, or alone."""
    runs = study.plan(
        catalog.load("init_std_sweep"),
        "mini",
        arms=["std_0.03", "std_0.1"],
        seeds=[0, 1],
        changes=TINY,
        data={"mnist": DIGITS.identity()},
        environment=determinism.start(),
    )
    return [grouping.marked(run, how(k)) for k, run in enumerate(runs, 1)] if how else runs


def in_turn(_: int) -> str:
    return grouping.IN_TURN


def at_once(number: int) -> str:
    return f"{number} of 4"


def made(runs: list[Run], logdir: Path) -> list[Told]:
    """Make the runs together; return what came of each."""
    found = making.made_as_one(runs, logdir, DIGITS, telemetry=0, tell=lambda _: None)
    return [told(run) for run in found.values()]


def told(run: Run) -> Told:
    """Return what a run came to."""
    return {"status": run.status, "chain": run.chain, "history": run.history}


def killed(folder: str) -> None:
    """Make the runs in turn; die while the second interval is kept, of some already."""
    save, saved = states.save, []

    def fatal(state: states.State, folder: Path) -> None:
        if state.interval == 2 and len(saved) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        save(state, folder)
        saved.extend([state] * (state.interval == 2))

    states.save = fatal
    made(planned(in_turn), Path(folder))


def turned(folder: str) -> Told:
    """Return what comes of the runs in turn: by the door, and gone on with where it was killed."""
    at = Path(folder)
    words = [*WORDS, "--logdir", str(at / "whole"), "--together"]
    assert reproduce.main(words) == 0
    one, *_ = planned()
    kept = [*(at / "killed").rglob("state/*[0-9]")]
    (at / "anew" / "state").mkdir(parents=True)
    retracing.retrace(str(found(one, at / "whole")), "digits", str(at / "anew"), False)
    return {
        "whole": [told(record.recorded(found(run, at / "whole"))) for run in planned()],
        "anew": told(record.recorded(at / "anew")),
        "left": sorted(path.name for path in kept),
        "gone on": made(planned(in_turn), at / "killed"),
        "alone": told(making.made(one, at / "alone", DIGITS, telemetry=0, tell=lambda _: None)),
        "refused": [
            refusal(lambda: making.made(one, at / "whole", DIGITS)),
            refusal(lambda: made(planned(in_turn), at / "alone")),
        ],
    }


def batched(folder: str) -> Told:
    """Return what comes of the runs at once: interrupted and gone on with, and of two anew."""
    at = Path(folder)
    check, checked = interrupts.check, []

    def interrupted() -> None:
        checked.append(None)
        if len(checked) == 2:  # within the second interval: each is looked at once
            raise KeyboardInterrupt
        check()

    interrupts.check = interrupted
    with suppress(KeyboardInterrupt):
        made(planned(at_once), at / "whole")
    left = [record.recorded(found(run, at / "whole")) for run in planned()]
    return {
        "left": [(run.status, run.intervals) for run in left],
        "whole": made(planned(at_once), at / "whole"),
        "anew": made(planned(at_once)[1:3], at / "anew"),
    }


def found(run: Run, logdir: Path) -> Path:
    return record.directory_of(run, logdir)


def refusal(make: Callable[[], Any]) -> str:
    """Return why something is refused."""
    try:
        make()
    except UserError as error:
        return str(error)
    return ""
