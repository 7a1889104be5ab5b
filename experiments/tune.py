"""Search how an experiment's result depends on initial weights and learning rate.

Every trial is an arm of the experiment, trained as reproduce trains it, and measured on a
validation split; the test split is never used. The same command gives the same trials, and resumes
where it was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import catalog
from experiments.harness.runtime import cli, signals
from experiments.harness.spec import Dimension, Experiment, Scale, UserError, search_space
from experiments.harness.spec.overrides import override, resolve
from experiments.tuning.objectives import COUNTED, OBJECTIVES, ORACLES, SHARDED

if TYPE_CHECKING:
    from experiments.harness.data.dataset import Dataset
    from experiments.tuning.distributed.chief import Sharing
    from experiments.tuning.search import Search, SearchLocation, Trials

TRIALS = 20  # of random and bayesian, which do not end by themselves
EXCLUSIVE = (  # flags that exclude each other, and why
    ("role", "jobs", "whoever starts the workers decides how many there are"),
    ("role", "shard", "shards are for machines that share nothing"),
    ("merge", "role", "it trains nothing"),
    ("merge", "shard", "it trains nothing"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = parser().parse_args(argv)
    resume = "; run again, without --fresh, to resume"
    return cli.run_command("tune", lambda: answer(args), resume)


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    command = cli.ArgumentParser(
        prog="python -m experiments.tune",
        description=__doc__,
        epilog="KERAS_BACKEND=tensorflow|jax|torch selects the backend. Exit codes: 0 done, "
        "1 workers or the chief failed, 2 bad use or bad input, 130 interrupted (run again to "
        "resume).",
        parents=cli.shared_flags(
            "scale", "set", "data", "logdir", "telemetry-every", "allow-nondeterministic", "json"
        ),
    )
    add = command.add_argument
    # fmt: off
    add("experiment", help="its name; see reproduce --list")
    add("--oracle", choices=ORACLES, default="random",
        help="KerasTuner's, which chooses the trials; grid takes every combination of points; "
        "default: random")
    add("--arm", metavar="NAME", help="the arm to vary; default: the experiment's own choice")
    add("--space", nargs="+", action="extend", default=[], type=_dimension, metavar="PATH=VALUES",
        help="vary a field: PATH=log:LOW:HIGH[:POINTS], PATH=linear:LOW:HIGH[:POINTS], or "
        "PATH=[JSON, ...]; PATH+PATH=... gives both the same value. Replaces the default for that "
        "path, with its condition, or is added")
    add("--trials", type=cli.whole_number(1), metavar="N",
        help="number of trials of random and bayesian; default: 20")
    add("--executions-per-trial", "--executions", type=cli.whole_number(1), default=1, metavar="N",
        help="seeds for each trial, whose mean counts; default: 1")
    add("--objective", choices=tuple(OBJECTIVES),
        help="on the validation split, at the end; default: accuracy if the arm measures it")
    add("--seed", type=cli.whole_number(0, 2**32), default=0, metavar="N",
        help="of the search, and the first seed of each trial; default: 0")
    add("--name", metavar="NAME",
        help="the search's folder under DIR/search; default: the oracle's name")
    add("--jobs", type=cli.whole_number(1), metavar="N",
        help="train N trials at a time, each in a process of its own; default: 2 on a CPU, else 1")
    add("--role", choices=("chief", "worker"),
        help="share the search among machines: one chief hands out trials, workers train them, all "
        "with the same flags otherwise; default: from KerasTuner's environment variables")
    add("--address", metavar="HOST:PORT",
        help="the chief's, on loopback or a private network: whoever reaches it can give orders")
    add("--limit", type=cli.whole_number(1), default=60, metavar="SECONDS",
        help="a worker that is silent for so long loses its trial, and one that does not reach the "
        "chief for so long ends; default: 60")
    add("--longest", type=cli.whole_number(1), default=86400, metavar="SECONDS",
        help="a worker that has not finished a trial in so long loses it; default: 86400, a day")
    add("--patience", type=cli.whole_number(1), default=600, metavar="SECONDS",
        help="the chief gives up if it hears no worker for so long; default: 600")
    add("--shard", type=_shard, metavar="I/N",
        help="only every Nth trial, of grid and random, for machines that share nothing")
    add("--merge", nargs="+", type=Path, default=[], metavar="DIR",
        help="train nothing: merge the trials of shards with the same flags, by log directory")
    add("--fresh", action="store_true", help="start the search over; finished runs are reused")
    add("--dry-run", action="store_true", help="print the search space as JSON and train nothing")
    # fmt: on
    return command


def answer(args: argparse.Namespace) -> int:
    """Search, and print the result."""
    experiment = catalog.load(args.experiment)
    space = selected_space(experiment, args)  # before the slow imports: bad use is reported at once
    if args.dry_run:
        payload: Any = [vars(dimension) for dimension in space]
    else:
        with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
            payload = tune(experiment, space, args)
    if args.json or args.dry_run:
        print(json.dumps(payload, indent=1))
    return cli.DONE


def selected_space(experiment: Experiment, args: argparse.Namespace) -> tuple[Dimension, ...]:
    """Return the space to search; ``UserError`` for flags that do not go together."""
    _check(args)
    space = search_space.merge(experiment.space, args.space)
    names = {dimension.name for dimension in space}
    if left := [dimension.name for dimension in args.space if dimension.name not in names]:
        raise UserError(f"{left[0]} would never be active: no value in the space leads to it")
    paths = [path for dimension in space for path in dimension.paths]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise UserError(f"{twice[0]} is in the space twice")
    arm = resolve(experiment, base_arm(experiment, args), lookup_scale(args), dict(args.set))
    for dimension in space:
        parent = {dimension.when[0]: dimension.when[1]} if dimension.when else {}
        for value in dimension.points:
            override(arm, {**parent, **dict.fromkeys(dimension.paths, value)})
    return space


def _check(args: argparse.Namespace) -> None:
    given = {name for name, value in vars(args).items() if value}
    if role(args)[0]:
        given.add("role")
    for one, other, why in EXCLUSIVE:
        if {one, other} <= given:
            raise UserError(f"--{one} does not go with --{other}: {why}")
    if args.trials and args.oracle not in COUNTED:
        raise UserError(f"--trials is for {' and '.join(COUNTED)}: others end by themselves")
    if args.shard and args.oracle not in SHARDED:
        raise UserError(f"--shard is for {' and '.join(SHARDED)}: others depend on earlier trials")
    if args.seed + args.executions_per_trial >= 2**32:
        raise UserError("--seed and --executions-per-trial lead to seeds of 2**32 or more")


def lookup_scale(args: argparse.Namespace) -> Scale:
    """Return the scale at which to look up arms before the backend decides the default one."""
    return args.scale or "mini"


def base_arm(experiment: Experiment, args: argparse.Namespace) -> str:
    """Return the name of the arm to vary."""
    return args.arm or experiment.searched or next(iter(experiment.at[lookup_scale(args)]))


def role(args: argparse.Namespace) -> tuple[str | None, str | None]:
    """Return the role and the chief's address, from the flags or KerasTuner's environment."""
    from experiments.tuning.distributed.addresses import check_address

    name, address = args.role, args.address
    if not name and "KERASTUNER_ORACLE_IP" in os.environ:
        name = "chief" if "chief" in os.environ.get("KERASTUNER_TUNER_ID", "") else "worker"
        address = ":".join(os.environ.get(f"KERASTUNER_ORACLE_{k}", "") for k in ("IP", "PORT"))
    if bool(name) != bool(address):
        raise UserError("--role and --address go together")
    return name, check_address(address) if address else None


def tune(
    experiment: Experiment, space: Sequence[Dimension], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Search, printing progress; return the table of trials as JSON types."""
    search, location, dataset, warnings = plan(experiment, space, args)
    from experiments.tuning import journal  # imports a backend
    from experiments.tuning.distributed.worker import serve_chief
    from experiments.tuning.runner import run_search

    print(header(search, warnings), flush=True)
    part, address = role(args)
    if part == "worker":
        serve_chief(search, location, dataset, str(address), args.limit)
        return []
    shards = [logdir / "search" / location.directory.name for logdir in args.merge]
    trials = run_search(
        search,
        location,
        dataset,
        sharing(search, address, args),
        shard=args.shard or (1, 1),
        fresh=args.fresh,
        known=[journal.directory(search, directory) for directory in shards],
    )
    return show(search, location, trials, args)


def sharing(search: Search, address: str | None, args: argparse.Namespace) -> Sharing:
    """Return how the trials are shared among processes."""
    from experiments.tuning.distributed.chief import Sharing

    jobs = 2 if search.trainer.template.environment["device"] == "cpu" else 1
    return Sharing(args.jobs or jobs, address, args.limit, args.longest, args.patience)


def show(
    search: Search, location: SearchLocation, trials: Trials, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Write the search's files, print where they are, and return the table of trials."""
    from experiments.tuning import journal, results

    written = results.write(search, trials, journal.directory(search, location.directory))
    print(f"\n{results.text(search, trials)}\n")
    for name, path in written.items():
        print(f"{name:12} {path}")
    if "best" in written:
        experiment, _, arm = search.trainer.template.arm_id.partition(":")
        argv = [experiment, "--arm", arm, "--scale", search.trainer.template.scale]
        argv += ["--data", args.data] * bool(args.data)
        argv += ["--set-file", str(written["best"])]
        print(f"{'train it':12} python -m experiments.reproduce {shlex.join(argv)}")
    print(f"{'TensorBoard':12} tensorboard --logdir {location.directory}")
    return results.rows(search, trials)


def plan(
    experiment: Experiment, space: Sequence[Dimension], args: argparse.Namespace
) -> tuple[Search, SearchLocation, Dataset, Sequence[str]]:
    """Start the backend; return the search, its location, its data, and warnings."""
    from experiments.harness.data import sources
    from experiments.harness.runtime import determinism
    from experiments.harness.study.plan import StudyRequest, plan_study

    determinism.start(deterministic=not args.allow_nondeterministic)
    name = base_arm(experiment, args)
    trained_on = resolve(experiment, name, lookup_scale(args)).dataset
    request = StudyRequest(
        experiment,
        scale=args.scale,
        arms=[name],
        seeds=[args.seed],
        data=[(args.data or trained_on) + sources.VALIDATION_SUFFIX],
        overrides=dict(args.set) | {"held_out": 0},  # the validation split replaces the test split
    )
    study = plan_study(request, determinism.environment())
    from experiments.tuning.search import (
        Search,
        SearchLocation,  # imports a backend
    )
    from experiments.tuning.trial import TrialTrainer

    (template,), (dataset,) = study.specs, study.data.values()
    measured = "accuracy" if "accuracy" in template.arm.metrics else "loss"
    trainer = TrialTrainer(template, space, args.objective or measured, args.executions_per_trial)
    search = Search(trainer, args.oracle, args.trials or TRIALS)
    location = SearchLocation(
        args.logdir / "search" / (args.name or args.oracle),
        study.sources[trained_on],
        args.telemetry_every,
    )
    return search, location, dataset, study.warnings


def header(search: Search, warnings: Sequence[str]) -> str:
    """Return the facts of a search before it starts."""
    template = search.trainer.template
    data, seeds = template.dataset, search.trainer.executions
    facts = {
        "varied": f"{template.arm_id} ({template.scale})",
        "space": "; ".join(map(describe, search.trainer.space)),
        "oracle": f"{search.oracle}, seed {template.seed}",
        "objective": f"{search.trainer.objective} on a validation split ({data['name']})"
        + ": A STAND-IN, not the document's data" * data["stand_in"],
        "a trial": f"{template.arm.intervals} intervals of {template.arm.steps} steps, "
        f"{seeds} seed{'s' * (seeds > 1)}",
    }
    return "\n".join([*warnings, *(f"{name:10} {fact}" for name, fact in facts.items()), ""])


def describe(dimension: Dimension) -> str:
    """Return a dimension in words."""
    names = " and ".join(dimension.paths)
    if dimension.low is None:
        return f"{names} one of {', '.join(map(str, dimension.points))}"
    scale = " on a log scale" * dimension.log
    return f"{names} from {dimension.low:g} to {dimension.high:g}{scale}"


def _dimension(text: str) -> Dimension:
    try:
        return search_space.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _shard(text: str) -> tuple[int, int]:
    mine, _, shards = text.partition("/")
    if mine.isdigit() and shards.isdigit() and 1 <= int(mine) <= int(shards):
        return int(mine), int(shards)
    raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")


if __name__ == "__main__":
    signals.exit_process(main())
