"""Runs trained in batches on JAX, in a process of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments import reproduce
from experiments.harness.data import mnist
from experiments.harness.model import build
from experiments.harness.runtime import cpu, determinism, signals
from experiments.harness.spec import Run, RunSpec, UserError, batching
from experiments.harness.storage import checkpoint, run_record
from experiments.harness.storage.run_directory import directory_of
from experiments.harness.study import run_one
from experiments.harness.training.batched.batch import RunBatch
from experiments.harness.training.batched.jax_programs import (
    Program,
    SequentialProgram,
    VmapProgram,
    get_state,
)
from experiments.harness.training.options import TrainOptions
from experiments.verification import worker
from tests.helpers.planning import plan_specs

TINY = {
    "network.widths": [2, 4, 8],
    "batch_size": 8,
    "steps": 3,
    "intervals": 3,
    "test_examples": 50,
    "test_batch": 20,  # leaves a smaller batch at the end
}
ARMS, SEEDS = ["std_0.03", "std_0.1"], [0, 1]
ARGV = ["init_std_sweep", "--scale", "mini", "--data", "digits"]
ARGV += ["--arm", *ARMS, "--seed", *map(str, SEEDS)]
ARGV += ["--set", *(f"{path}={value}" for path, value in TINY.items())]
DIGITS = mnist.load("digits")[0]
OPTIONS = TrainOptions(telemetry_every=0)
Summary = dict[str, Any]


def plan_runs(
    mode: Callable[[int], str] | None = None, overrides: Mapping[str, Any] = TINY
) -> list[RunSpec]:
    """Return the four runs of ``ARGV``, in a batch of this mode or each alone."""
    environment = determinism.environment()
    specs = plan_specs("init_std_sweep", ARMS, SEEDS, overrides, environment, DIGITS)
    return [batching.mark_batched(s, mode(k)) for k, s in enumerate(specs, 1)] if mode else specs


def in_turn(_: int) -> str:
    return batching.IN_TURN


def at_once(number: int) -> str:
    return f"{number} of 4"


def train_batch(specs: list[RunSpec], logdir: Path) -> list[Summary]:
    """Train the runs as one batch; return a summary of each."""
    return [summarize(r) for r in run_one.train_or_load_batch(specs, logdir, DIGITS, OPTIONS)]


def summarize(run: Run) -> Summary:
    return {"status": run.status, "chain": run.chain, "history": dict(run.history)}


def train_until_killed(folder: str) -> None:
    """Train the runs in turn; die after two of them saved the second interval."""
    save, saved = checkpoint.save, []

    def save_or_die(state: checkpoint.Checkpoint, folder: Path) -> None:
        if state.interval == 2 and len(saved) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        save(state, folder)
        saved.extend([state] * (state.interval == 2))

    checkpoint.save = save_or_die
    cpu.available_count = lambda: 1  # saves one run after the other
    train_batch(plan_runs(in_turn), Path(folder))


def train_both_ways(folder: str) -> Summary:
    """Return the results of the runs trained in turn and at once."""
    return {"in turn": _train_in_turn(Path(folder)), "at once": _train_at_once(Path(folder) / "b")}


def _train_in_turn(folder: Path) -> Summary:
    """Train the runs with the command, resume the killed ones, and train one alone."""
    assert reproduce.main([*ARGV, "--logdir", str(folder / "whole"), "--batch-runs"]) == 0
    first, *_ = specs = plan_runs()
    checkpoints = [*(folder / "killed").rglob("state/*[0-9]")]
    alone = run_one.train_or_load(first, folder / "alone", DIGITS, OPTIONS)
    return {
        "whole": [summarize(run_record.read(directory_of(s, folder / "whole"))) for s in specs],
        "checkpoints": sorted(path.name for path in checkpoints),
        "resumed": train_batch(plan_runs(in_turn), folder / "killed"),
        "alone": summarize(alone),
        "errors": [
            user_error(lambda: run_one.train_or_load(first, folder / "whole", DIGITS)),
            user_error(lambda: train_batch(plan_runs(in_turn), folder / "alone")),
        ],
    }


def _train_at_once(folder: Path) -> Summary:
    """Train the runs, interrupted in the second interval and resumed; rerun one of them."""
    check, checks = signals.raise_if_interrupted, []
    compile_program, programs = RunBatch.program, []

    def interrupt() -> None:
        checks.append(None)
        if len(checks) == 2 * 4 + 2:  # two for each run at the start, then one an interval
            raise KeyboardInterrupt
        check()

    def compile_once(batch: RunBatch) -> Program:
        programs.append(compile_program(batch))
        return programs[0]

    signals.raise_if_interrupted, RunBatch.program = interrupt, compile_once
    with suppress(KeyboardInterrupt):
        train_batch(plan_runs(at_once), folder)
    interrupted = [run_record.read(directory_of(spec, folder)) for spec in plan_runs()]
    whole = train_batch(plan_runs(at_once), folder)
    RunBatch.program = compile_program  # the rerun compiles its own
    second, rerun = directory_of(plan_runs()[1], folder), folder / "rerun"
    (rerun / "state").mkdir(parents=True)
    worker.rerun_until_divergence(str(second), "digits", str(rerun), False)
    return {
        "interrupted": [(run.status, run.intervals) for run in interrupted],
        "whole": whole,
        "rerun": summarize(run_record.read(rerun)),
        "few examples": _evaluate_untrained({**TINY, "test_examples": 15}),
    }


def _evaluate_untrained(overrides: Mapping[str, Any]) -> list[list[float]]:
    """Evaluate an untrained network at once and in turn; return its metrics' values."""
    spec = plan_runs(at_once, overrides)[0]
    model, _ = build.build_for_run(spec, DIGITS)
    programs: list[Program] = [
        VmapProgram(model, DIGITS, spec.arm, [0], 1),
        SequentialProgram(model, DIGITS, spec.arm),
    ]
    return [
        [float(value) for value in program.test([get_state(model)])[0][-1]]  # the metrics'
        for program in programs
    ]


def user_error(call: Callable[[], Any]) -> str:
    """Return the message of the ``UserError`` that ``call`` raises, empty if none."""
    try:
        call()
    except UserError as error:
        return str(error)
    return ""
