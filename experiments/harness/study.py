"""A study: chosen arms and seeds of an experiment, planned as runs, carried out, and judged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from experiments.harness import datasets, determinism, files, making, parallel, plots, record
from experiments.harness.data import Dataset
from experiments.harness.judge import judge
from experiments.harness.making import Tell
from experiments.harness.overrides import resolve
from experiments.harness.result import Result
from experiments.harness.spec import Experiment, Run, Scale, UserError
from experiments.harness.together import grouping

PICTURES = {True: "curves.png", False: "curves-part.png"}  # of the whole study, or of a part


@dataclass(frozen=True)
class Study:
    """Runs that are to be made for an experiment.

    ``sources`` and ``data`` map the name of each dataset to what the user calls it and to itself;
    ``warnings`` tell of substitutes. ``whole``: all its arms and seeds, unchanged. ``groups`` are
    those of the runs that are trained together.
    """

    experiment: Experiment
    runs: Sequence[Run]
    sources: Mapping[str, str]
    data: Mapping[str, Dataset]
    warnings: Sequence[str]
    whole: bool
    groups: Sequence[Sequence[Run]] = ()


def prepare(
    experiment: Experiment,
    *,
    scale: Scale | None = None,
    arms: Iterable[str] | str | None = None,
    seeds: Iterable[int] | None = None,
    data: Iterable[str] | str = (),
    changes: Mapping[str, Any] | None = None,
    deterministic: bool = True,
    together: int | None = None,
    load: Callable[[str, str], tuple[Dataset, str | None]] = datasets.load,
) -> Study:
    """Start the backend, load the data, and plan every run that is asked for.

    ``scale`` is ``full`` where an accelerator is visible, else ``mini``; ``arms`` are all that
    there are at that scale, ``seeds`` the experiment's, unless told otherwise. ``data`` names
    sources (``datasets.choose``), which ``load`` loads. Runs that are not ``deterministic`` are
    marked so, and so are those that are to be trained ``together``, at most so many at once, all
    that can be where 0. Raises ``UserError`` for whatever the user can mend.
    """
    if scale not in (None, "mini", "full"):
        raise UserError(f"scale must be 'mini' or 'full', not {scale!r}")
    environment = determinism.start(deterministic=deterministic)
    scale = scale or default_scale()
    names = list(dict.fromkeys(_several(arms) or experiment.at[scale]))
    wanted = {resolve(experiment, name, scale, changes).dataset for name in names}
    chosen = datasets.choose(_several(data), wanted)
    loaded = {name: load(name, source) for name, source in chosen.items()}
    runs = plan(
        experiment,
        scale,
        arms=names,
        seeds=seeds or experiment.seeds,
        changes=changes or {},
        data={name: dataset.identity() for name, (dataset, _) in loaded.items()},
        environment=environment,
    )
    groups = grouping.grouped(runs, together) if together is not None else []
    marked = {(run.home, run.seed): run for group in groups for run in group}
    runs = [marked.get((run.home, run.seed), run) for run in runs]
    return Study(
        experiment,
        runs,
        chosen,
        {name: dataset for name, (dataset, _) in loaded.items()},
        [warning for _, warning in loaded.values() if warning],
        {run.seed for run in runs} >= set(experiment.seeds) and not (arms or changes),
        groups,
    )


def carry_out(
    studies: Sequence[Study],
    logdir: Path,
    *,
    intervals: int | None = None,
    deadline: float = math.inf,
    fresh: bool = False,
    jobs: int = 1,
    telemetry: int | None = None,
    verbose: int = 0,
    tell: Tell = print,
    begin: Callable[[Study], None] = lambda _: None,
) -> Iterator[Result]:
    """Make every run of the studies, or find it made; yield what each study came to.

    ``fresh`` first deletes what former runs left in their directories. With ``jobs`` above 1 the
    runs are made before, so many at a time. From ``deadline`` on no run is begun but the first that
    is not made, and a study without runs is passed over. ``begin`` gets each study as its turn
    comes; the rest is as for ``training.train``. Raises ``UserError`` for whatever the user can
    mend.
    """
    from experiments.harness import board  # may import a backend: only after it was started

    if intervals is not None and intervals < 1:
        raise UserError(f"intervals must be 1 or more, not {intervals}")
    if jobs > 1 and any(study.groups for study in studies):
        raise UserError("runs are made together, or by several jobs, not both")
    options: dict[str, Any] = {"intervals": intervals, "deadline": deadline, "tell": tell}
    options["telemetry"] = telemetry
    sourced = {
        record.directory_of(run, logdir): (run, study.sources[run.arm.dataset])
        for study in studies
        for run in (*chain.from_iterable(study.groups), *study.runs)  # in the order of making
    }
    for directory, (run, _) in sourced.items() if fresh else ():
        with files.owned(directory):
            record.clear(run, directory)
    runs = [run for run, _ in sourced.values()]
    first = {*(making.unmade(runs, logdir, intervals)[:1] if deadline < math.inf else ())}
    finished: dict[Path, Run] = {}
    if jobs > 1:
        for warning in {warning: None for study in studies for warning in study.warnings}:
            tell(warning)
        tell(f"{len(sourced)} runs, {jobs} at a time")
        finished = parallel.made([*sourced.values()], logdir, jobs, first, **options)
    for study in studies:
        begin(study)
        board.write(study.experiment, study.runs, folder_of(study, logdir))
        finished |= _together(study, logdir, first, verbose=verbose, **options)
        if begun := _runs(study, logdir, finished, first, verbose=verbose, **options):
            result = _result(study, begun, logdir)
            board.write(study.experiment, begun, folder_of(study, logdir), result)
            yield result


def _together(study: Study, logdir: Path, first: set[Path], **options: Any) -> dict[Path, Run]:
    """Make the runs of the study's groups, each group together; return them by directories.

    A group with one in ``first`` is gone on with at any time.
    """
    made: dict[Path, Run] = {}
    for group in study.groups:
        directories = {record.directory_of(run, logdir) for run in group}
        begin = bool(directories & first)
        first -= directories
        dataset = study.data[group[0].arm.dataset]
        made |= making.made_together(group, logdir, dataset, begin=begin, **options)
    return made


def _runs(
    study: Study, logdir: Path, finished: Mapping[Path, Run], first: set[Path], **options: Any
) -> list[Run]:
    """Return the study's runs, but for those for which there was no time; make what is not made.

    ``finished`` are those made before, by their directories. What is in ``first`` is gone on with
    at any time, and then no longer: another study may have it, too.
    """
    runs = []
    for number, run in enumerate(study.runs, 1):
        directory = record.directory_of(run, logdir)
        begin = directory in first or time.monotonic() < options["deadline"]
        first.discard(directory)
        found = finished.get(directory)
        if begin and not found:
            head = f"[{number}/{len(study.runs)}] {study.experiment.named(run)}, seed {run.seed}"
            options["tell"](f"\n{head}: {run.arm.about}")
        if found:
            runs.append(replace(found, arm=run.arm))
        else:
            dataset = study.data[run.arm.dataset]
            runs.append(making.made(run, logdir, dataset, begin=begin, **options))
    return [run for run in runs if run.chain]


def folder_of(study: Study, logdir: Path) -> Path:
    """Return where the study's picture is, and its own runs are."""
    return logdir / study.experiment.name / study.runs[0].scale


def _result(study: Study, runs: Sequence[Run], logdir: Path) -> Result:
    """Draw and judge the study's runs, or those of them that there are."""
    complete = [run for run in runs if run.status == "complete"]
    name = PICTURES[study.whole and len(complete) == len(study.runs)]
    picture = folder_of(study, logdir) / name
    plots.picture(study.experiment, runs, picture)
    return Result(study.experiment, runs, judge(study.experiment, runs), logdir, picture)


def plan(
    experiment: Experiment,
    scale: Scale,
    *,
    arms: Iterable[str],
    seeds: Iterable[int],
    changes: Mapping[str, Any],
    data: Mapping[str, Mapping[str, Any]],
    environment: Mapping[str, Any],
) -> list[Run]:
    """Return the runs to be made, seed by seed; ``data`` tells of each dataset by its name.

    Raises ``UserError`` for an arm or a change unknown.
    """
    chosen = {name: resolve(experiment, name, scale, changes) for name in arms}
    return [
        Run(
            experiment=experiment.homes[name].partition(":")[0],
            arm_name=experiment.homes[name].partition(":")[2],
            arm=arm,
            seed=seed,
            scale=scale,
            dataset=data[arm.dataset],
            environment=environment,
            changes=changes,
        )
        for seed in dict.fromkeys(seeds)
        for name, arm in chosen.items()
    ]


def _several(words: Iterable[str] | str | None) -> list[str]:
    return [words] if isinstance(words, str) else list(words or ())


def default_scale(deterministic: bool | None = None) -> Scale:
    """Return ``full`` where an accelerator is visible, else ``mini``; starts the backend."""
    started = determinism.start(deterministic=deterministic)
    return "mini" if started["device"] == "cpu" else "full"
