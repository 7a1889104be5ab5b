"""Re-run a documented experiment and judge its claims.

A killed or interrupted run resumes, a complete one is shown, not repeated.
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

from experiments import catalog, load
from experiments.harness.runtime import cli, env_vars, signals
from experiments.harness.spec import Experiment, Scale, UserError, batching
from experiments.harness.spec.overrides import arms_at, resolve

if TYPE_CHECKING:
    from experiments.harness.study.plan import Study, StudyRequest
    from experiments.harness.training.options import TrainOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = parser().parse_args(argv)
    args.deadline = time.monotonic() + 60 * args.time_limit
    resume = "; run again, without --fresh, to resume"
    return cli.run_command("reproduce", lambda: answer(args), resume)


def parser() -> argparse.ArgumentParser:
    """Return the command's argument parser."""
    command = cli.ArgumentParser(
        prog="python -m experiments.reproduce",
        description=__doc__,
        epilog="KERAS_BACKEND=tensorflow|jax|torch selects the backend. Exit codes: 0 done, "
        "1 a run differs from the published one of its environment, or a worker process died, "
        "2 bad use or bad input, 130 interrupted (run again to resume).",
        parents=cli.shared_flags(
            "scale",
            "set",
            "logdir",
            "telemetry-every",
            "fresh",
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
    add("experiment", nargs="?", help="its name; see --list. Or your own: path/to/mine.py, or "
        "my_package.mine")
    add("--all", action="store_true",
        help="every experiment that has the scale, one after the other")
    add("--list", action="store_true", help="list the experiments and exit")
    add("--arm", nargs="+", metavar="NAME", help="only these arms")
    add("--seed", nargs="+", type=cli.whole_number(0, 2**32), metavar="N",
        help="default: the experiment's own seeds")
    add("--data", nargs="+", **{"default": [], **cli.FLAGS["data"]})
    add("--intervals", type=cli.whole_number(1), metavar="N",
        help="stop after the first N intervals; the run is marked partial")
    add("--time-limit", type=cli.minutes, default=math.inf, metavar="MINUTES",
        help="stop after the interval in which the time runs out, start-up included, and start no "
        "other run; at least one interval is trained. The same command resumes; --json has the "
        "number of runs left")
    add("--set-file", type=Path, metavar="FILE",
        help="overrides as a JSON object, such as the best.json of a search; --set is applied "
        "after it")
    add("--jobs", type=cli.whole_number(1), metavar="N",
        help="train N runs at a time, on each node of a --cluster, each in a process of its own; "
        "default: 1, or 2 for --all or --cluster on a CPU")
    add("--batch-runs", "--together", nargs="?", type=cli.whole_number(2), const=0, metavar="N",
        help="train runs that differ only in initial values, seeds, learning rates and schedules "
        "as one program, N at most at once; other runs are trained alone. Needs "
        "KERAS_BACKEND=jax; recorded in the run, whose last digits may differ from a run alone")
    add("--dry-run", action="store_true", help="print the arms as JSON and train nothing")
    # fmt: on
    return command


def answer(args: argparse.Namespace) -> int:
    """Do what the arguments ask for and print the result."""
    if args.list:
        print(catalog_table())
        return cli.DONE
    args.set = [*read_overrides(args.set_file), *args.set]
    experiments = selected(args)  # before the slow imports: bad use is reported at once
    if args.dry_run:
        payload = [resolved(experiment, args) for experiment in experiments]
    else:
        with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):
            payload = reproduce(experiments, args)
            if args.all:
                from experiments.harness.reporting import tables

                print(f"\nAll experiments:\n\n{tables.overview(payload)}")
    if args.json or args.dry_run:
        print(json.dumps(payload if args.all else next(iter(payload), None), indent=1))
    published = [row for result in payload for row in result.get("published", ())]
    return cli.DONE if all(row["differs_at"] is None for row in published) else cli.FAILED


def selected(args: argparse.Namespace) -> list[Experiment]:
    """Return the experiments that the arguments name, all arguments checked."""
    if (args.experiment is not None) == args.all:
        raise UserError("name an experiment, or use --all; --list shows the experiments")
    scale: Scale = args.scale or "full"
    names = catalog.names() if args.all else [args.experiment]
    experiments = [load(name) for name in names]
    if args.all:
        experiments = [experiment for experiment in experiments if scale in experiment.at]
    if args.all and (args.arm or args.set):
        raise UserError("--arm and --set are for one experiment, not for --all")
    if args.batch_runs is not None and (args.all or args.jobs):
        raise UserError("--batch-runs is for one experiment, without --jobs")
    if args.batch_runs is not None and (args.shard or args.merge or args.cluster):
        raise UserError("--batch-runs is for one machine, without --shard, --merge and --cluster")
    if args.merge and (args.shard or args.fresh or args.jobs or args.cluster):
        raise UserError("--merge trains nothing: leave out --shard, --fresh, --jobs and --cluster")
    if args.batch_runs is not None:
        batching.check_backend("jax" if args.portable else env_vars.keras_backend())
    for experiment in experiments:
        for arm in arms_at(experiment, scale) if args.arm is None else args.arm:
            resolve(experiment, arm, scale, dict(args.set))
    return experiments


def reproduce(experiments: Sequence[Experiment], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train and judge the experiments, printing as they go; return the results as JSON types."""
    start_backend(args)
    from experiments.harness.data import sources
    from experiments.harness.reporting import console
    from experiments.harness.runtime import determinism
    from experiments.harness.study import execute, publication, shards
    from experiments.harness.study.plan import plan_study

    environment = determinism.environment()
    load_data = functools.cache(sources.load)
    studies = [plan_study(request(each, args), environment, load_data) for each in experiments]
    if args.shard:
        studies = shards.select(studies, args.shard)
    if args.merge:
        studies = shards.merge(studies, args.logdir, args.merge, args.intervals)
    many = (args.all or args.cluster is not None) and not args.merge
    default_jobs = 2 if many and environment["device"] == "cpu" else 1
    payload = []
    for result in execute.run_studies(
        studies,
        args.logdir,
        options(args),
        fresh=args.fresh,
        jobs=args.jobs or default_jobs,
        cluster=args.cluster,
        on_study_start=lambda study: print(
            console.study_header(study.experiment, study.specs, study.warnings), flush=True
        ),
    ):
        print(console.study_summary(result), flush=True)
        text, rows = publication.compare(result)
        if text:
            print(f"\n{text}", flush=True)
        payload.append(result.summary() | {"published": rows})
    if args.deadline < math.inf:
        report_progress(studies, payload, args)
    return payload


def request(experiment: Experiment, args: argparse.Namespace) -> StudyRequest:
    """Return the request for an experiment, without the data that only other experiments use."""
    from experiments.harness.data import sources
    from experiments.harness.study.plan import StudyRequest

    used = {arm.dataset for arm in experiment.at[args.scale or "full"].values()}
    return StudyRequest(
        experiment,
        scale=args.scale,
        arms=args.arm,
        seeds=args.seed,
        data=[s for s in args.data if not args.all or sources.dataset_for_source(s) in used],
        overrides=dict(args.set),
        batch_runs=args.batch_runs,
    )


def options(args: argparse.Namespace) -> TrainOptions:
    """Return the options of the runs' training."""
    from experiments.harness.training.options import TrainOptions

    return TrainOptions(
        stop_after=args.intervals,
        deadline=args.deadline,
        telemetry_every=args.telemetry_every,
        verbose=1 if sys.stdout.isatty() else 2,
    )


def report_progress(
    studies: Sequence[Study], payload: list[dict[str, Any]], args: argparse.Namespace
) -> None:
    """Print how many runs are left at the time limit, and add it to each result."""
    from experiments.harness.reporting import console
    from experiments.harness.storage.run_directory import directory_of
    from experiments.harness.study.run_one import incomplete_runs

    left = {
        study.experiment.name: [
            directory_of(spec, args.logdir)
            for spec in incomplete_runs(study.specs, args.logdir, args.intervals)
        ]
        for study in studies
    }
    for result in payload:
        result["left"] = len(left[result["experiment"]])
    planned = {directory_of(spec, args.logdir) for study in studies for spec in study.specs}
    print(f"\n{console.progress(len(planned), len({*chain(*left.values())}))}")


def catalog_table() -> str:
    """Return a table of all experiments; print a line on stderr for each broken file."""
    experiments, broken = catalog.load_all()
    for line in broken:
        print(f"reproduce: {line}", file=sys.stderr)
    from tabulate import tabulate

    rows = [(each.name, each.question, each.document) for each in experiments]
    return tabulate(rows, ("name", "question", "document"), maxcolwidths=[None, 50, 40])


def resolved(experiment: Experiment, args: argparse.Namespace) -> dict[str, Any]:
    """Return the arms as they would be trained, as JSON types."""
    scale = args.scale or started_scale(args)
    arms = request(experiment, args).resolved_arms(scale)
    return {
        "experiment": experiment.name,
        "scale": scale,
        "seeds": experiment.seeds if args.seed is None else args.seed,
        "arms": {name: arm.identity() for name, arm in arms.items()},
        "homes": {name: experiment.arm_ids[name] for name in arms},
    }


def started_scale(args: argparse.Namespace) -> Scale:
    """Start the backend, and return the default scale of its device."""
    start_backend(args)
    from experiments.harness.runtime import determinism
    from experiments.harness.study.plan import default_scale

    return default_scale(determinism.environment())


def start_backend(args: argparse.Namespace) -> None:
    """Start the backend; the portable profile must be set before anything imports NumPy."""
    from experiments.harness.runtime import determinism

    determinism.start(deterministic=not args.allow_nondeterministic, portable=args.portable)


def read_overrides(path: Path | None) -> list[tuple[str, Any]]:
    """Return the overrides in a JSON file; ``UserError`` if it has none."""
    if path is None:
        return []
    try:
        payload = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(payload, dict):
        raise UserError(f"{path} is not a JSON object of overrides")
    return [*payload.items()]


if __name__ == "__main__":
    signals.exit_process(main())
