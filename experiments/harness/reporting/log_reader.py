"""What a log directory holds, judged without training anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from experiments.harness.reporting import plots
from experiments.harness.reporting.result import Result
from experiments.harness.spec import Experiment, Run, Scale, UserError
from experiments.harness.spec.judge import judge
from experiments.harness.storage import run_directory, run_record


def results(
    logdir: Path, experiments: Iterable[Experiment], tell: Callable[[str], None]
) -> list[Result]:
    """Return a result for each experiment and scale of which ``logdir`` holds an own run.

    Runs with changes of the user's, and runs of an arm that the catalogue now tells otherwise, are
    left out, ``tell`` gets a line for the latter. Where some seeds have every arm complete, the
    others (a shared arm may have more) are left out too. Draws each result's picture anew.
    """
    runs = find_runs(logdir, tell)
    made = []
    for experiment in experiments:
        for scale in experiment.at:
            mine = _of(experiment, scale, runs, logdir, tell)
            if any(run.experiment == experiment.name for run in mine):
                picture = logdir / experiment.name / scale / "curves.png"
                chosen = _whole(experiment, scale, mine)
                plots.draw(experiment, chosen, picture)
                verdicts = judge(experiment, chosen)
                made.append(Result(experiment, chosen, verdicts, logdir, picture))
    return made


def find_runs(logdir: Path, tell: Callable[[str], None]) -> list[Run]:
    """Return every run in ``logdir`` without changes; a damaged one is told and left out."""
    runs = []
    for path in sorted(logdir.glob("*/*/*/seed*/run.json")):
        try:
            run = run_record.read(path.parent)
        except UserError as error:
            tell(f"left out: {error}")
            continue
        if not run.changes:
            runs.append(run)
    return runs


def _of(
    experiment: Experiment,
    scale: Scale,
    runs: Iterable[Run],
    logdir: Path,
    tell: Callable[[str], None],
) -> list[Run]:
    """Return the experiment's runs, their arms in its own words, ordered by seed."""
    arms = experiment.at[scale]
    homes = {experiment.homes[name]: arms[name] for name in arms}
    mine = [run for run in runs if run.scale == scale and run.home in homes]
    other = [run for run in mine if run.arm.identity() != homes[run.home].identity()]
    if stale := [run for run in other if run.experiment == experiment.name]:
        tell(
            f"{len(stale)} runs of {experiment.name} at {scale} are left out, as the catalogue "
            f"tells their arms otherwise: {run_directory.directory_of(stale[0], logdir)}"
            + ", ..."
            * (len(stale) > 1)
        )
    same = [replace(run, arm=homes[run.home]) for run in mine if run not in other]
    order = list(homes)
    return sorted(same, key=lambda run: (run.seed, order.index(run.home)))


def _whole(experiment: Experiment, scale: Scale, runs: list[Run]) -> list[Run]:
    """Return the runs of the seeds that have every arm complete, or all where no seed has."""
    complete: dict[int, int] = {}
    for run in runs:
        complete[run.seed] = complete.get(run.seed, 0) + (run.status == "complete")
    whole = {seed for seed, count in complete.items() if count == len(experiment.at[scale])}
    return [run for run in runs if run.seed in whole] or runs
