"""Runs that are trained together, in processes of their own, with JAX."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments import catalog, reproduce
from experiments.harness.data import mnist
from experiments.harness.model import build
from experiments.harness.runtime import cpu, determinism, signals
from experiments.harness.spec import Run, UserError, batching
from experiments.harness.storage import checkpoint, run_directory, run_record
from experiments.harness.study import plan, run_one
from experiments.harness.training.batched.batch import RunBatch
from experiments.harness.training.batched.jax_programs import (
    Program,
    SequentialProgram,
    VmapProgram,
    get_state,
)
from experiments.verification import worker

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


def planned(
    how: Callable[[int], str] | None = None, changes: Mapping[str, Any] = TINY
) -> list[Run]:
    """Return the four runs that ``WORDS`` asks for, trained together as ``how`` says, or alone."""
    runs = plan.plan_runs(
        catalog.load("init_std_sweep"),
        "mini",
        arms=["std_0.03", "std_0.1"],
        seeds=[0, 1],
        changes=changes,
        data={"mnist": DIGITS.identity()},
        environment=determinism.start(),
    )
    return [batching.mark_batched(run, how(k)) for k, run in enumerate(runs, 1)] if how else runs


def in_turn(_: int) -> str:
    return batching.IN_TURN


def at_once(number: int) -> str:
    return f"{number} of 4"


def made(runs: list[Run], logdir: Path) -> list[Told]:
    """Make the runs together; return what came of each."""
    found = run_one.train_or_load_batch(runs, logdir, DIGITS, telemetry=0, tell=lambda _: None)
    return [told(run) for run in found.values()]


def told(run: Run) -> Told:
    """Return what a run came to."""
    return {"status": run.status, "chain": run.chain, "history": run.history}


def killed(folder: str) -> None:
    """Make the runs in turn; die while the second interval is kept, of some already."""
    save, saved = checkpoint.save, []

    def fatal(state: checkpoint.Checkpoint, folder: Path) -> None:
        if state.interval == 2 and len(saved) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        save(state, folder)
        saved.extend([state] * (state.interval == 2))

    checkpoint.save = fatal
    cpu.available_count = lambda: 1  # so that they are kept one after the other
    made(planned(in_turn), Path(folder))


def together(folder: str) -> Told:
    """Return what comes of the runs, trained in turn and at once."""
    return {"turned": _turned(Path(folder)), "batched": _batched(Path(folder) / "batched")}


def _turned(folder: Path) -> Told:
    """Make them by the door; go on with them where they were killed; make one of them alone."""
    words = [*WORDS, "--logdir", str(folder / "whole"), "--together"]
    assert reproduce.main(words) == 0
    one, *_ = planned()
    kept = [*(folder / "killed").rglob("state/*[0-9]")]
    return {
        "whole": [told(run_record.read(found(run, folder / "whole"))) for run in planned()],
        "left": sorted(path.name for path in kept),
        "gone on": made(planned(in_turn), folder / "killed"),
        "alone": told(
            run_one.train_or_load(one, folder / "alone", DIGITS, telemetry=0, tell=lambda _: None)
        ),
        "refused": [
            refusal(lambda: run_one.train_or_load(one, folder / "whole", DIGITS)),
            refusal(lambda: made(planned(in_turn), folder / "alone")),
        ],
    }


def _batched(folder: Path) -> Told:
    """Make them, interrupted in the second interval and gone on with; verify one of them."""
    check, checked = signals.raise_if_interrupted, []
    program, programs = RunBatch.program, []

    def interrupted() -> None:
        checked.append(None)
        if len(checked) == 2 * 4 + 2:  # two for each run before; one an interval, of few steps
            raise KeyboardInterrupt
        check()

    def compiled_once(group: RunBatch) -> Program:
        programs.append(program(group))
        return programs[0]

    signals.raise_if_interrupted, RunBatch.program = interrupted, compiled_once
    with suppress(KeyboardInterrupt):
        made(planned(at_once), folder)
    left = [run_record.read(found(run, folder)) for run in planned()]
    whole = made(planned(at_once), folder)
    RunBatch.program = program  # what is verified is compiled anew
    second, anew = found(planned()[1], folder), folder / "anew"
    (anew / "state").mkdir(parents=True)
    worker.rerun_until_divergence(str(second), "digits", str(anew), False)
    return {
        "left": [(run.status, run.intervals) for run in left],
        "whole": whole,
        "anew": told(run_record.read(anew)),
        "few": _evaluated({**TINY, "test_examples": 15}),
    }


def _evaluated(changes: Mapping[str, Any]) -> list[list[float]]:
    """Evaluate a network that is not trained, at once and in turn; return its metrics' values."""
    (run, *_) = planned(at_once, changes)
    model, _ = build.build_for_run(run)
    programs: list[Program] = [
        VmapProgram(model, DIGITS, run.arm, [0], 1),
        SequentialProgram(model, DIGITS, run.arm),
    ]
    return [
        [float(value) for value in program.test([get_state(model)])[0][-1]]  # of its metrics
        for program in programs
    ]


def found(run: Run, logdir: Path) -> Path:
    return run_directory.directory_of(run, logdir)


def refusal(make: Callable[[], Any]) -> str:
    """Return why something is refused."""
    try:
        make()
    except UserError as error:
        return str(error)
    return ""
