"""Search how an experiment's result depends on initial weights and learning rate.

Every trial is an arm of the experiment, trained as reproduce trains it, and measured on a
validation split; the test split is never used. The same command gives the same trials, and resumes
where it was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments import load
from experiments.harness.reporting import labels
from experiments.harness.runtime import cli, signals
from experiments.harness.spec import Dimension, Experiment, Scale, UserError, search_space
from experiments.harness.spec.overrides import arms_at, override, resolve
from experiments.tuning.objectives import NEED_TRIAL_COUNT, OBJECTIVES, ORACLES, SHARDABLE

if TYPE_CHECKING:
    from experiments.harness.execution.task import Executor
    from experiments.tuning.search import Search, SearchLocation, Trials

TRIALS = 20  # of random and bayesian, by default
EXCLUSIVE = (  # flags that exclude each other, and why
    ("merge", "shard", "--merge trains nothing"),
    ("merge", "jobs", "--merge trains nothing"),
    ("merge", "cluster", "--merge trains nothing"),
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
        "1 a process failed, 2 bad use or bad input, 130 interrupted (run again to "
        "resume).",
        parents=cli.shared_flags(
            "scale",
            "set",
            "data",
            "logdir",
            "telemetry-every",
            "allow-nondeterministic",
            "portable",
            "json",
            "shard",
            "merge",
            "cluster",
        ),
    )
    add = command.add_argument
    # fmt: off
    add("experiment", help="its name, see reproduce --list; or your own file or module")
    add("--oracle", choices=ORACLES, default="random",
        help="the KerasTuner oracle that chooses the trials; grid takes every combination of "
        "points; default: random")
    add("--arm", metavar="NAME", help="the arm to vary; default: the experiment's own choice")
    add("--space", nargs="+", action="extend", default=[], type=_dimension, metavar="PATH=VALUES",
        help="vary a field: PATH=log:LOW:HIGH[:POINTS], PATH=linear:LOW:HIGH[:POINTS], or "
        "PATH=[JSON, ...]; PATH+PATH=... gives both the same value. A path of the default space "
        "is replaced and keeps its condition; any other path is added")
    add("--trials", type=cli.whole_number(1), metavar="N",
        help="number of trials of random and bayesian; default: 20")
    add("--executions-per-trial", "--executions", type=cli.whole_number(1), default=1, metavar="N",
        help="seeds for each trial, whose mean counts; default: 1")
    add("--objective", choices=tuple(OBJECTIVES),
        help="on the validation split, at the end; default: accuracy if the arm measures it")
    add("--seed", type=cli.whole_number(0, 2**32), default=0, metavar="N",
        help="the search's seed, also the first seed of each trial; default: 0")
    add("--name", metavar="NAME",
        help="the search's folder under DIR/search; default: the oracle's name")
    add("--fresh", action="store_true", help="start the search over; finished runs are reused")
    add("--dry-run", action="store_true", help="print the search space as JSON and train nothing")
    add("--jobs", type=cli.whole_number(1), metavar="N",
        help="train N trials at a time, on each node of a --cluster, each in a process of its own; "
        "default: 2 on a CPU, else 1")
    # fmt: on
    return command


def answer(args: argparse.Namespace) -> int:
    """Do what the arguments ask for and print the result."""
    experiment = load(args.experiment)
    space = selected_space(experiment, args)  # before the slow imports: bad use is reported at once
    if args.dry_run:
        payload = [dimension.to_json() for dimension in space]
    else:
        with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
            payload = tune(experiment, space, args)
    if args.json or args.dry_run:
        print(json.dumps(payload, indent=1))
    return cli.DONE


def selected_space(experiment: Experiment, args: argparse.Namespace) -> tuple[Dimension, ...]:
    """Return the space to search, all arguments checked."""
    _check_flags(args)
    space = search_space.merge(experiment.space, args.space)
    names = {dimension.name for dimension in space}
    if inactive := [dimension.name for dimension in args.space if dimension.name not in names]:
        raise UserError(
            f"{inactive[0]} would never be active: no value in the space meets its condition"
        )
    paths = [path for dimension in space for path in dimension.paths]
    if duplicates := [path for path in paths if paths.count(path) > 1]:
        raise UserError(f"{duplicates[0]} is in the space twice")
    arm = resolve(experiment, base_arm(experiment, args), lookup_scale(args), dict(args.set))
    for dimension in space:
        required = dict([dimension.condition]) if dimension.condition else {}
        for value in dimension.points:
            override(arm, {**required, **dict.fromkeys(dimension.paths, value)})
    return space


def _check_flags(args: argparse.Namespace) -> None:
    given = {name for name, value in vars(args).items() if value}
    for flag, other, reason in EXCLUSIVE:
        if {flag, other} <= given:
            raise UserError(f"--{flag} cannot be combined with --{other}: {reason}")
    if args.name == "":
        raise UserError("--name is empty; leave it out for the oracle's name")
    if args.trials and args.oracle not in NEED_TRIAL_COUNT:
        raise UserError(
            f"--trials is for {' and '.join(NEED_TRIAL_COUNT)}: the others end by themselves"
        )
    if args.shard and args.oracle not in SHARDABLE:
        raise UserError(
            f"--shard is for {' and '.join(SHARDABLE)}: the others depend on earlier trials"
        )
    if args.seed + args.executions_per_trial >= 2**32:
        raise UserError("--seed and --executions-per-trial lead to seeds of 2**32 or more")


def lookup_scale(args: argparse.Namespace) -> Scale:
    """Return the scale at which to look up arms before the backend decides the default one."""
    return args.scale or "mini"


def base_arm(experiment: Experiment, args: argparse.Namespace) -> str:
    """Return the name of the arm to vary."""
    if args.arm is not None:
        return args.arm
    return experiment.searched or next(iter(arms_at(experiment, lookup_scale(args))))


def tune(
    experiment: Experiment, space: Sequence[Dimension], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Search, printing progress; return the table of trials as JSON types."""
    from experiments.harness.runtime import determinism

    determinism.start(deterministic=not args.allow_nondeterministic, portable=args.portable)
    from experiments.tuning import journal  # imports a backend
    from experiments.tuning.runner import run_search

    search, location, warnings = plan(experiment, space, args)
    print(header(search, warnings), flush=True)
    shards = [logdir / "search" / location.directory.name for logdir in args.merge]
    trials = run_search(
        search,
        location,
        executor(search, args),
        shard=args.shard or (1, 1),
        fresh=args.fresh,
        merge=[journal.directory_of(search, directory) for directory in shards],
    )
    return report(search, location, trials, args)


def plan(
    experiment: Experiment, space: Sequence[Dimension], args: argparse.Namespace
) -> tuple[Search, SearchLocation, Sequence[str]]:
    """Return the search, its location, and warnings."""
    from experiments.harness.data import sources
    from experiments.harness.runtime import determinism
    from experiments.harness.study import train_task
    from experiments.harness.study.plan import StudyRequest, plan_study
    from experiments.tuning.search import Search, SearchLocation
    from experiments.tuning.trial import TrialTrainer

    name = base_arm(experiment, args)
    trained_on = resolve(experiment, name, lookup_scale(args)).dataset
    request = StudyRequest(
        experiment,
        scale=args.scale,
        arms=[name],
        seeds=[args.seed],
        data=[(trained_on if args.data is None else args.data) + sources.VALIDATION_SUFFIX],
        overrides=dict(args.set) | {"held_out": 0},  # the validation split replaces the test split
    )
    train_task.load_dataset.cache_clear()  # the file may have changed since
    study = plan_study(request, determinism.environment(), train_task.load_dataset)
    (template,) = study.specs
    objective = args.objective or ("accuracy" if "accuracy" in template.arm.metrics else "loss")
    trainer = TrialTrainer(template, space, objective, args.executions_per_trial)
    location = SearchLocation(
        args.logdir / "search" / (args.oracle if args.name is None else args.name),
        study.sources[trained_on],
        args.telemetry_every,
    )
    search = Search(trainer, args.oracle, args.trials or TRIALS)
    return search, location, study.warnings


def executor(search: Search, args: argparse.Namespace) -> Executor:
    """Return the executor that trains the trials."""
    from experiments.harness.execution.executors import choose

    default_jobs = 2 if search.trainer.template.environment["device"] == "cpu" else 1
    return choose(args.jobs or default_jobs, args.cluster)


def header(search: Search, warnings: Sequence[str]) -> str:
    """Return the facts of a search before it starts."""
    template = search.trainer.template
    data, seeds = template.dataset, search.trainer.executions
    facts = {
        "varied": f"{template.arm_id} ({template.scale})",
        "space": "; ".join(map(describe, search.trainer.space)),
        "oracle": f"{search.oracle}, seed {template.seed}",
        "objective": f"{search.trainer.objective} on a validation split ({data['name']})"
        + labels.stand_in_warning(data),
        "a trial": f"{template.arm.intervals} intervals of {template.arm.steps} steps, "
        f"{seeds} seed{'s' * (seeds > 1)}",
    }
    return "\n".join([*warnings, *(f"{name:10} {fact}" for name, fact in facts.items()), ""])


def describe(dimension: Dimension) -> str:
    """Return a dimension as a short sentence."""
    names = " and ".join(dimension.paths)
    if dimension.low is None:
        return f"{names} one of {', '.join(map(str, dimension.points))}"
    scale = " on a log scale" * dimension.log
    return f"{names} from {dimension.low:g} to {dimension.high:g}{scale}"


def report(
    search: Search, location: SearchLocation, trials: Trials, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Write the results, print a summary and the paths, and return the table of trials."""
    from experiments.tuning import journal, results

    paths = results.write(search, trials, journal.directory_of(search, location.directory))
    print(f"\n{results.summary(search, trials)}\n")
    for name, path in paths.items():
        print(f"{name:12} {path}")
    if "best" in paths:
        experiment, _, arm = search.trainer.template.arm_id.partition(":")
        argv = [experiment, "--arm", arm, "--scale", search.trainer.template.scale]
        argv += ["--data", args.data] if args.data else []
        argv += ["--portable"] * args.portable
        argv += ["--set-file", str(paths["best"])]
        print(f"{'train it':12} python -m experiments.reproduce {shlex.join(argv)}")
    argv = ["tensorboard", "--logdir", str(location.directory)]
    print(f"{'TensorBoard':12} {shlex.join(argv)}")
    return results.rows(search, trials)


def _dimension(text: str) -> Dimension:
    try:
        return search_space.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    signals.exit_process(main())
