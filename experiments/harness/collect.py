"""What a log directory holds, judged without training anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from experiments.harness import plots, record
from experiments.harness.judge import judge
from experiments.harness.result import Result
from experiments.harness.spec import Experiment, Run, Scale, UserError


def results(
    logdir: Path, experiments: Iterable[Experiment], tell: Callable[[str], None]
) -> list[Result]:
    """Return a result for each experiment and scale of which ``logdir`` holds a run.

    Runs with changes of the user's, and runs of an arm that the catalogue now tells otherwise, are
    left out; ``tell`` gets a line for each of the latter. Draws each result's picture anew.
    """
    runs = found(logdir, tell)
    made = []
    for experiment in experiments:
        for scale, arms in experiment.at.items():
            names = {experiment.homes[name]: name for name in arms}
            mine = [run for run in runs if run.scale == scale and run.home in names]
            same = [run for run in mine if run.arm.identity() == arms[names[run.home]].identity()]
            other = [run for run in mine if run not in same and run.experiment == experiment.name]
            if other:
                tell(
                    f"{len(other)} runs of {experiment.name} at {scale} are left out, as the "
                    f"catalogue tells their arms otherwise: {record.directory_of(other[0], logdir)}"
                    + ", ..."
                    * (len(other) > 1)
                )
            if any(run.experiment == experiment.name for run in same):
                made.append(_result(experiment, scale, sorted(same, key=_order), logdir))
    return made


def found(logdir: Path, tell: Callable[[str], None]) -> list[Run]:
    """Return every run in ``logdir`` that is as its experiment tells it, without changes."""
    runs = []
    for path in sorted(logdir.glob("*/*/*/seed*/run.json")):
        try:
            run = record.load(path.parent, tell)
        except UserError as error:
            tell(str(error))
            continue
        if run and not run.changes:
            runs.append(run)
    return runs


def _order(run: Run) -> tuple[int, str]:
    return run.seed, run.home


def _result(experiment: Experiment, scale: Scale, runs: list[Run], logdir: Path) -> Result:
    picture = logdir / experiment.name / scale / "curves.png"
    plots.picture(experiment, runs, picture)
    return Result(experiment, runs, judge(experiment, runs), logdir, picture)
