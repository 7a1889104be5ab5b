"""Search how an experiment's result depends on initial weights and learning rate.

Every trial is an arm of the experiment, trained as reproduce trains it, and measured on a
validation split: the test split is not looked at. The same command gives the same trials, and goes
on where it was killed.
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

TRIALS = 20  # of the oracles that have no end of their own
APART = (  # words of which a search has one, and why
    ("role", "jobs", "how many workers there are is for those who start them"),
    ("role", "shard", "shards are for machines that share nothing"),
    ("merge", "role", "it trains nothing"),
    ("merge", "shard", "it trains nothing"),
)


def main(words: Sequence[str] | None = None) -> int:
    """Run the door with the words of a command line; return its exit code."""
    asked = parser().parse_args(words)
    resumed = "; run again, without --fresh, to go on"
    return cli.run_command("tune", lambda: answer(asked), resumed)


def parser() -> argparse.ArgumentParser:
    """Return the door's argument parser."""
    door = cli.ArgumentParser(
        prog="python -m experiments.tune",
        description=__doc__,
        epilog="KERAS_BACKEND=tensorflow|jax|torch chooses the backend. Exit codes: 0 done, "
        "1 workers or the chief failed, 2 bad use or bad input, 130 interrupted (run again to go "
        "on).",
    )
    add = door.add_argument
    # fmt: off
    add("experiment", help="its name; reproduce --list tells which there are")
    add("--oracle", choices=ORACLES, default="random", help="who chooses the "
        "trials, KerasTuner's; grid takes every combination of points; default: random")
    add("--arm", metavar="NAME", help="the arm that is varied; default: the experiment's own "
        "choice")
    add("--space", nargs="+", action="extend", default=[], type=_dimension, metavar="PATH=VALUES",
        help="vary a field: PATH=log:LOW:HIGH[:POINTS], PATH=linear:LOW:HIGH[:POINTS], "
        "or PATH=[JSON, ...]; PATH+PATH=... gives both the same value; in the place of the "
        "default for that path, and with its condition, or after all")
    add("--set", nargs="+", action="extend", default=[], type=cli.key_value, metavar="KEY=VALUE",
        help="change the arm first, as for reproduce")
    add("--trials", type=cli.whole_number(1), metavar="N", help="so many, of random and bayesian; "
        "default: 20")
    add("--executions", type=cli.whole_number(1), default=1, metavar="N", help="seeds for each trial, "
        "whose mean counts; default: 1")
    add("--objective", choices=tuple(OBJECTIVES), help="on the validation split, at the end; "
        "default: accuracy where the arm measures it")
    add("--scale", choices=("mini", "full"), help="as for reproduce")
    add("--seed", type=cli.whole_number(0, 2**32), default=0, metavar="N", help="of the search, and the "
        "first of the trials'; default: 0")
    add("--data", metavar="SOURCE", help="as for reproduce")
    add("--logdir", type=Path, default=Path("logs"), metavar="DIR", help="default: logs")
    add("--name", metavar="NAME", help="what the search is called under DIR/search; default: its "
        "oracle's name")
    add("--jobs", type=cli.whole_number(1), metavar="N", help="train N trials at a time, each in a "
        "process of its own; default: 2 on a CPU, 1 elsewhere")
    add("--role", choices=("chief", "worker"), help="share the search among machines: one chief "
        "gives out what workers train, each with the same words otherwise; default: by "
        "KerasTuner's environment variables")
    add("--address", metavar="HOST:PORT", help="the chief's, loopback or a private network: "
        "whoever reaches it can give orders")
    add("--limit", type=cli.whole_number(1), default=60, metavar="SECONDS", help="a worker silent for "
        "so long has lost its trial, and one that reaches no chief for so long ends; default: 60")
    add("--longest", type=cli.whole_number(1), default=86400, metavar="SECONDS", help="a worker that "
        "has not ended a trial in so long has lost it; default: 86400, a day")
    add("--patience", type=cli.whole_number(1), default=600, metavar="SECONDS", help="the chief gives "
        "up where no worker is heard for so long; default: 600")
    add("--shard", type=_shard, metavar="I/N", help="only every Nth trial, of grid "
        "and random, for machines that share nothing")
    add("--merge", nargs="+", type=Path, default=[], metavar="DIR", help="train nothing: join what "
        "shards with the same words have tried, by their log directories")
    add("--telemetry-every", type=cli.whole_number(0), metavar="N", help="as for reproduce")
    add("--fresh", action="store_true", help="start the search over; runs that are made are kept")
    add("--allow-nondeterministic", action="store_true", help="as for reproduce")
    add("--dry-run", action="store_true", help="print the space as JSON and train nothing")
    add("--json", action="store_true", help="print the table as JSON, and nothing else, on stdout")
    # fmt: on
    return door


def answer(asked: argparse.Namespace) -> int:
    """Do what was asked and print what comes of it."""
    experiment = catalog.load(asked.experiment)
    varied = chosen(experiment, asked)  # before the slow imports: bad use answers at once
    if asked.dry_run:
        told: Any = [vars(dimension) for dimension in varied]
    else:
        with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
            told = tune(experiment, varied, asked)
    if asked.json or asked.dry_run:
        print(json.dumps(told, indent=1))
    return cli.DONE


def chosen(experiment: Experiment, asked: argparse.Namespace) -> tuple[Dimension, ...]:
    """Return the space that is searched; ``UserError`` for words that do not go together."""
    _checked(asked)
    varied = search_space.merge(experiment.space, asked.space)
    named = {dimension.name for dimension in varied}
    if left := [dimension.name for dimension in asked.space if dimension.name not in named]:
        raise UserError(f"{left[0]} would never be active: no value in the space leads to it")
    paths = [path for dimension in varied for path in dimension.paths]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise UserError(f"{twice[0]} is in the space twice")
    arm = resolve(experiment, base(experiment, asked), scale(asked), dict(asked.set))
    for dimension in varied:
        parent = {dimension.when[0]: dimension.when[1]} if dimension.when else {}
        for value in dimension.points:
            override(arm, {**parent, **dict.fromkeys(dimension.paths, value)})
    return varied


def _checked(asked: argparse.Namespace) -> None:
    told = {word for word, value in vars(asked).items() if value}
    if role(asked)[0]:
        told.add("role")
    for one, other, why in APART:
        if {one, other} <= told:
            raise UserError(f"--{one} does not go with --{other}: {why}")
    if asked.trials and asked.oracle not in COUNTED:
        raise UserError(f"--trials is for {' and '.join(COUNTED)}: others end by themselves")
    if asked.shard and asked.oracle not in SHARDED:
        raise UserError(f"--shard is for {' and '.join(SHARDED)}: others choose by what they saw")
    if asked.seed + asked.executions >= 2**32:
        raise UserError("--seed and --executions lead to seeds that are not below 2**32")


def scale(asked: argparse.Namespace) -> Scale:
    """Return the scale to look up arms at before a backend tells which one it is by default."""
    return asked.scale or "mini"


def base(experiment: Experiment, asked: argparse.Namespace) -> str:
    """Return the name of the arm that is varied."""
    return asked.arm or experiment.searched or next(iter(experiment.at[scale(asked)]))


def role(asked: argparse.Namespace) -> tuple[str | None, str | None]:
    """Return the role and the chief's address, from the words or KerasTuner's environment."""
    from experiments.tuning.distributed.addresses import check_address

    name, address = asked.role, asked.address
    if not name and "KERASTUNER_ORACLE_IP" in os.environ:
        name = "chief" if "chief" in os.environ.get("KERASTUNER_TUNER_ID", "") else "worker"
        address = ":".join(os.environ.get(f"KERASTUNER_ORACLE_{k}", "") for k in ("IP", "PORT"))
    if bool(name) != bool(address):
        raise UserError("--role and --address go together")
    return name, check_address(address) if address else None


def tune(
    experiment: Experiment, varied: Sequence[Dimension], asked: argparse.Namespace
) -> list[dict[str, Any]]:
    """Do what was asked, telling it on stdout; return the table as JSON types."""
    search, place, dataset, warnings = planned(experiment, varied, asked)
    from experiments.tuning import journal  # imports a backend
    from experiments.tuning.distributed.worker import serve_chief
    from experiments.tuning.runner import run_search

    cli.print_line(announced(search, warnings))
    part, address = role(asked)
    if part == "worker":
        serve_chief(search, place, dataset, str(address), asked.limit, tell=cli.print_line)
        return []
    shards = [logdir / "search" / place.directory.name for logdir in asked.merge]
    trials = run_search(
        search,
        place,
        dataset,
        sharing(search, address, asked),
        shard=asked.shard or (1, 1),
        fresh=asked.fresh,
        known=[journal.directory(search, directory) for directory in shards],
        tell=cli.print_line,
    )
    return shown(search, place, trials, asked)


def sharing(search: Search, address: str | None, asked: argparse.Namespace) -> Sharing:
    """Return who trains the trials."""
    from experiments.tuning.distributed.chief import Sharing

    jobs = 2 if search.trainer.template.environment["device"] == "cpu" else 1
    return Sharing(asked.jobs or jobs, address, asked.limit, asked.longest, asked.patience)


def shown(
    search: Search, place: SearchLocation, trials: Trials, asked: argparse.Namespace
) -> list[dict[str, Any]]:
    """Write what a search came to and tell where it is; return its table."""
    from experiments.tuning import journal, results

    made = results.write(search, trials, journal.directory(search, place.directory))
    cli.print_line(f"\n{results.text(search, trials)}\n")
    for what, path in made.items():
        cli.print_line(f"{what:12} {path}")
    if "best" in made:
        name, _, arm = search.trainer.template.home.partition(":")
        words = [name, "--arm", arm, "--scale", search.trainer.template.scale]
        words += ["--data", asked.data] * bool(asked.data)
        words += ["--set-file", str(made["best"])]
        cli.print_line(f"{'train it':12} python -m experiments.reproduce {shlex.join(words)}")
    cli.print_line(f"{'TensorBoard':12} tensorboard --logdir {place.directory}")
    return results.rows(search, trials)


def planned(
    experiment: Experiment, varied: Sequence[Dimension], asked: argparse.Namespace
) -> tuple[Search, SearchLocation, Dataset, Sequence[str]]:
    """Return the search, where it is done, its data, and warnings; starts the backend."""
    from experiments.harness.data import sources
    from experiments.harness.study import plan

    name = base(experiment, asked)
    trained_on = resolve(experiment, name, scale(asked)).dataset
    prepared = plan.plan_study(
        experiment,
        scale=asked.scale,
        arms=[name],
        seeds=[asked.seed],
        data=[(asked.data or trained_on) + sources.VALIDATION_SUFFIX],
        changes=dict(asked.set) | {"held_out": 0},  # that is in the test split's place
        deterministic=not asked.allow_nondeterministic,
    )
    from experiments.tuning import search  # imports a backend
    from experiments.tuning.trial import TrialTrainer

    (template,), (dataset,) = prepared.runs, prepared.data.values()
    measured = "accuracy" if "accuracy" in template.arm.metrics else "loss"
    trainer = TrialTrainer(template, varied, asked.objective or measured, asked.executions)
    requested = search.Search(trainer, asked.oracle, asked.trials or TRIALS)
    place = search.SearchLocation(
        asked.logdir / "search" / (asked.name or asked.oracle),
        prepared.sources[trained_on],
        asked.telemetry_every,
    )
    return requested, place, dataset, prepared.warnings


def announced(search: Search, warnings: Sequence[str]) -> str:
    """Return what is about to be done."""
    template = search.trainer.template
    data, seeds = template.dataset, search.trainer.executions
    facts = {
        "varied": f"{template.home} ({template.scale})",
        "space": "; ".join(map(spelt, search.trainer.space)),
        "oracle": f"{search.oracle}, seed {template.seed}",
        "objective": f"{search.trainer.objective} on a validation split ({data['name']})"
        + ": A STAND-IN, not the document's data" * data["stand_in"],
        "a trial": f"{template.arm.intervals} intervals of {template.arm.steps} steps, "
        f"{seeds} seed{'s' * (seeds > 1)}",
    }
    return "\n".join([*warnings, *(f"{name:10} {fact}" for name, fact in facts.items()), ""])


def spelt(dimension: Dimension) -> str:
    """Return a dimension in words."""
    names = " and ".join(dimension.paths)
    if dimension.low is None:
        return f"{names} one of {', '.join(map(str, dimension.points))}"
    spread = " by its logarithm" * dimension.log
    return f"{names} from {dimension.low:g} to {dimension.high:g}{spread}"


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
