"""Judge the runs in a log directory, without training anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.harness.reporting import plots
from experiments.harness.reporting.result import Result
from experiments.harness.runtime.log import logger
from experiments.harness.spec import Arm, Experiment, Run, Scale, UserError
from experiments.harness.spec.judge import judge
from experiments.harness.spec.overrides import override
from experiments.harness.storage import run_directory, run_record, source_code

WHOLE_PICTURE, PART_PICTURE = "curves.png", "curves-part.png"


def draw_and_judge(
    experiment: Experiment, runs: Sequence[Run], logdir: Path, picture: Path
) -> Result:
    """Draw the runs as ``picture``, judge the claims, and return the result."""
    plots.draw(experiment, runs, picture)
    return Result(experiment, runs, judge(experiment, runs), logdir, picture)


def results(
    logdir: Path, experiments: Iterable[Experiment], overrides: Mapping[str, Any] | None = None
) -> list[Result]:
    """Draw and return a result for each experiment and scale with a run of its own in ``logdir``.

    Left out are runs with other overrides, runs of an arm that the catalogue now defines
    differently, seeds that have only other experiments' arms and, at ``mini``, if some seeds have
    every arm complete, the other seeds.
    """
    runs = find_runs(logdir, overrides)
    experiments = [*experiments]
    known = {experiment.name for experiment in experiments}
    found = []
    for experiment in experiments:
        for scale in experiment.at:
            selected = _select_runs(runs, experiment, scale, logdir)
            own = {run.spec.seed for run in selected if run.spec.experiment == experiment.name}
            if own:
                selected = [run for run in selected if run.spec.seed in own]
                if scale == "mini":
                    selected = _complete_seeds(selected, experiment)
                picture = PART_PICTURE if overrides else WHOLE_PICTURE
                path = logdir / experiment.name / scale / picture
                found.append(draw_and_judge(experiment, selected, logdir, path))
    for name in {run.spec.experiment: None for run in runs if run.spec.code}:
        if name not in known:
            logger.warning(f"left out: {logdir / name}, of your own; name its file to report it")
    return found


def find_runs(logdir: Path, overrides: Mapping[str, Any] | None = None) -> list[Run]:
    """Return every run in ``logdir`` with exactly these overrides.

    Damaged ones are logged and left out.
    """
    runs = []
    for path in sorted(logdir.glob("*/*/*/seed*/run.json")):
        try:
            run = run_record.read(path.parent)
        except UserError as error:
            logger.warning(f"left out: {error}")
            continue
        if run.spec.overrides == (overrides or {}):
            runs.append(run)
    return runs


def _select_runs(
    runs: Iterable[Run], experiment: Experiment, scale: Scale, logdir: Path
) -> list[Run]:
    """Return the experiment's runs with the catalogue's arms, by seed."""
    arms = {experiment.arm_ids[name]: arm for name, arm in experiment.at[scale].items()}
    current, outdated = list[Run](), list[Run]()
    for run in runs:
        if run.spec.scale == scale and (arm := arms.get(run.spec.arm_id)):
            arm = _overridden(arm, run)
            same = run.spec.arm.identity() == arm.identity() and not source_code.change(
                run.spec.code, run.spec.code_folder
            )
            updated = replace(run, spec=replace(run.spec, arm=arm))
            (current if same else outdated).append(updated if same else run)
    if own := [run for run in outdated if run.spec.experiment == experiment.name]:
        example = run_directory.directory_of(own[0].spec, logdir)
        logger.warning(
            f"{len(own)} runs of {experiment.name} at {scale} are left out, as their arms have "
            f"changed in {experiment.file or 'the catalogue'}: {example}{', ...' * (len(own) > 1)}"
        )
    order = list(arms)
    return sorted(current, key=lambda run: (run.spec.seed, order.index(run.spec.arm_id)))


def _overridden(arm: Arm, run: Run) -> Arm:
    """Return the catalogue's arm with a run's overrides, or without them if it cannot have them."""
    try:
        return override(arm, run.spec.overrides)
    except UserError:
        return arm


def _complete_seeds(runs: list[Run], experiment: Experiment) -> list[Run]:
    """Return the runs of the seeds with every arm complete, or all runs if no seed is."""
    complete = Counter(run.spec.seed for run in runs if run.status == "complete")
    seeds = {seed for seed, count in complete.items() if count == len(experiment.at["mini"])}
    return [run for run in runs if run.spec.seed in seeds] or runs
