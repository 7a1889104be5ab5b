"""Re-run a documented experiment and judge its claims.

A run that was killed or interrupted goes on where it stood, a complete one is shown, not repeated.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import sys
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import catalog
from experiments.harness.runtime import cli, env_vars, signals
from experiments.harness.spec import Experiment, Scale, UserError, batching
from experiments.harness.spec.overrides import resolve

if TYPE_CHECKING:
    from experiments.harness.study.plan import Study


def main(words: Sequence[str] | None = None) -> int:
    """Run the door with the words of a command line; return its exit code."""
    asked = parser().parse_args(words)
    asked.deadline = time.monotonic() + 60 * asked.time_limit
    resumed = "; run again, without --fresh, to go on"
    return cli.run_command("reproduce", lambda: answer(asked), resumed)


def answer(asked: argparse.Namespace) -> int:
    """Do what was asked and print what comes of it."""
    if asked.list:
        print(catalog_table())
        return cli.DONE
    asked.set = [*from_file(asked.set_file), *asked.set]
    experiments = chosen(asked)  # before the slow imports: bad use answers at once
    if asked.dry_run:
        told = [resolved(experiment, asked) for experiment in experiments]
    else:
        with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
            told = reproduce(experiments, asked)
            if asked.all:
                from experiments.harness.reporting import tables

                print(f"\nAll experiments:\n\n{tables.overview(told)}")
    if asked.json or asked.dry_run:
        print(json.dumps(told if asked.all else told[0], indent=1))
    return cli.DONE


def parser() -> argparse.ArgumentParser:
    """Return the door's argument parser."""
    door = cli.ArgumentParser(
        prog="python -m experiments.reproduce",
        description=__doc__,
        epilog="KERAS_BACKEND=tensorflow|jax|torch chooses the backend. Exit codes: 0 done, "
        "2 bad use or bad input, 130 interrupted (run again to go on).",
    )
    add = door.add_argument
    # fmt: off
    add("experiment", nargs="?", help="its name; --list tells which there are")
    add("--all", action="store_true", help="every experiment, one after the other")
    add("--list", action="store_true", help="list the experiments and exit")
    add("--scale", choices=("mini", "full"), help="full is the document to the letter, mini fits "
        "a laptop's CPU; default: full where an accelerator is visible, else mini")
    add("--arm", nargs="+", metavar="NAME", help="only these arms")
    add("--seed", nargs="+", type=cli.whole_number(0, 2**32), metavar="N", help="default: the "
        "experiment's own")
    add("--data", nargs="+", default=[], metavar="SOURCE", help="mnist (the default: as Keras has "
        "it or downloads it), digits (scikit-learn's), a file laid out as mnist.npz; for document "
        "003 frames (the default: drawn faces), or a folder with labels.csv")
    add("--logdir", type=Path, default=Path("logs"), metavar="DIR", help="default: logs")
    add("--intervals", type=cli.whole_number(1), metavar="N", help="stop after the first N; marked "
        "partial")
    add("--time-limit", type=cli.minutes, default=math.inf, metavar="MINUTES", help="end after "
        "the interval in which the time runs out, start-up counted in, and begin no further run; "
        "at least one interval is made. The same command goes on; --json tells how many runs are "
        "left")
    add("--set", nargs="+", action="extend", default=[], type=cli.key_value, metavar="KEY=VALUE",
        help="change the arms, as in optimizer.learning_rate=1e-3; part of a run's identity")
    add("--set-file", type=Path, metavar="FILE", help="changes as a JSON object, as a search's "
        "best.json has them; --set comes after them")
    add("--jobs", type=cli.whole_number(1), metavar="N", help="make N runs at a time, each in a process "
        "of its own; default: 1, with --all on a CPU 2")
    add("--together", nargs="?", type=cli.whole_number(2), const=0, metavar="N", help="train runs that "
        "differ in initial values, seeds, learning rates and schedules alone together, as one "
        "program, at most N at once, all where N is left out; other runs are made alone; takes "
        "KERAS_BACKEND=jax; marked in the run, whose last digits may differ from those made alone")
    add("--telemetry-every", type=cli.whole_number(0), metavar="N", help="intervals from one set of "
        "TensorBoard histograms to the next; default: 10; with 0 it gets nothing of a run")
    add("--fresh", action="store_true", help="delete what the run left before and start over")
    add("--allow-nondeterministic", action="store_true", help="go without the switches that make "
        "a run repeat to the last bit, where a device or an operation has none; marked in the run")
    add("--dry-run", action="store_true", help="print the arms as JSON and train nothing")
    add("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
    # fmt: on
    return door


def chosen(asked: argparse.Namespace) -> list[Experiment]:
    """Return the experiments that were asked for, all words checked before anything slow."""
    if bool(asked.experiment) == asked.all:
        raise UserError("name an experiment, or --all; --list tells which there are")
    names = catalog.names() if asked.all else [asked.experiment]
    experiments = [catalog.load(name) for name in names]
    if asked.all and (asked.arm or asked.set):
        raise UserError("--arm and --set are for one experiment, not for --all")
    if asked.together is not None and (asked.all or asked.jobs):
        raise UserError("--together is for one experiment, without --jobs")
    if asked.together is not None:
        batching.check_backend(env_vars.keras_backend())
    for experiment in experiments:
        scale: Scale = asked.scale or "full"
        for arm in asked.arm or experiment.at[scale]:
            resolve(experiment, arm, scale, dict(asked.set))
    return experiments


def data_sources(experiment: Experiment, asked: argparse.Namespace) -> list[str]:
    """Return what ``--data`` names for the experiment: with ``--all``, others' data is left out."""
    from experiments.harness.data import sources

    used = {arm.dataset for arm in experiment.at[asked.scale or "full"].values()}
    return [s for s in asked.data if not asked.all or sources.dataset_of(s) in used]


def reproduce(experiments: Sequence[Experiment], asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Do what was asked, telling it on stdout; return the results as JSON types."""
    from experiments.harness.data import sources
    from experiments.harness.reporting import console
    from experiments.harness.runtime import determinism
    from experiments.harness.study import execute, plan

    load = functools.cache(sources.load)
    studies = [
        plan.plan_study(
            experiment,
            scale=asked.scale,
            arms=asked.arm,
            seeds=asked.seed,
            data=data_sources(experiment, asked),
            changes=dict(asked.set),
            deterministic=not asked.allow_nondeterministic,
            together=asked.together,
            load=load,
        )
        for experiment in experiments
    ]
    told = []
    for result in execute.run_studies(
        studies,
        asked.logdir,
        intervals=asked.intervals,
        deadline=asked.deadline,
        fresh=asked.fresh,
        telemetry=asked.telemetry_every,
        jobs=asked.jobs or (2 if asked.all and determinism.start()["device"] == "cpu" else 1),
        verbose=1 if sys.stdout.isatty() else 2,
        tell=cli.print_line,
        begin=lambda of: cli.print_line(console.study_header(of.experiment, of.runs, of.warnings)),
    ):
        cli.print_line(console.study_summary(result))
        told.append(result.summary())
    if asked.deadline < math.inf:
        timed(studies, told, asked)
    return told


def timed(studies: Sequence[Study], told: list[dict[str, Any]], asked: argparse.Namespace) -> None:
    """Tell how many runs are left, in each result too."""
    from experiments.harness.reporting import console
    from experiments.harness.storage import run_directory
    from experiments.harness.study import run_one

    left = {
        study.experiment.name: run_one.incomplete_runs(study.runs, asked.logdir, asked.intervals)
        for study in studies
    }
    for result in told:
        result["left"] = len(left[result["experiment"]])
    planned = {
        run_directory.directory_of(run, asked.logdir) for study in studies for run in study.runs
    }
    cli.print_line(f"\n{console.progress(len(planned), len({*chain(*left.values())}))}")


def catalog_table() -> str:
    """Return a table of all experiments."""
    found = [catalog.load(name) for name in catalog.names()]
    from tabulate import tabulate

    rows = [(experiment.name, experiment.question, experiment.document) for experiment in found]
    return tabulate(rows, ("name", "question", "document"), maxcolwidths=[None, 50, 40])


def resolved(experiment: Experiment, asked: argparse.Namespace) -> dict[str, Any]:
    """Return the arms as they would be trained, as JSON types."""
    from experiments.harness.study import plan

    scale = asked.scale or plan.default_scale(not asked.allow_nondeterministic)
    arms = asked.arm or experiment.at[scale]
    changes = dict(asked.set)
    return {
        "experiment": experiment.name,
        "scale": scale,
        "seeds": asked.seed or experiment.seeds,
        "arms": {arm: resolve(experiment, arm, scale, changes).identity() for arm in arms},
        "homes": {arm: experiment.homes[arm] for arm in arms},
    }


def from_file(path: Path | None) -> list[tuple[str, Any]]:
    """Return the changes in a JSON file; ``UserError`` where it holds none."""
    if path is None:
        return []
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(told, dict):
        raise UserError(f"{path} is no JSON object of changes")
    return [*told.items()]


if __name__ == "__main__":
    signals.exit_process(main())
