"""A study: chosen arms and seeds of an experiment, planned as runs, carried out, and judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.harness import datasets, determinism, files, plots, record
from experiments.harness.data import Dataset
from experiments.harness.judge import judge
from experiments.harness.overrides import resolve
from experiments.harness.result import Result
from experiments.harness.spec import Experiment, Run, Scale, UserError

PICTURES = {True: "curves.png", False: "curves-part.png"}  # of the whole study, or of a part


def carry_out(
    experiment: Experiment,
    *,
    scale: Scale | None = None,
    arms: Iterable[str] | str | None = None,
    seeds: Iterable[int] | None = None,
    data: Iterable[str] | str = (),
    logdir: Path | str = Path("logs"),
    changes: Mapping[str, Any] | None = None,
    intervals: int | None = None,
    fresh: bool = False,
    cleared: set[Path] | None = None,
    deterministic: bool = True,
    verbose: int = 0,
    tell: Callable[[str], None] = print,
    begin: Callable[[Sequence[Run], Sequence[str]], None] | None = None,
) -> Result:
    """Make every run that is asked for, or find it made, and judge them all.

    ``scale`` is ``full`` where an accelerator is visible, else ``mini``; ``arms`` are all that
    there are at that scale, ``seeds`` the experiment's, unless told otherwise. ``data`` names
    sources (``datasets.choose``); the rest is as for ``made``. ``begin`` gets the runs that are
    planned, and warnings. Runs that are not ``deterministic`` are marked so. Studies that are given
    the same ``cleared``, directories, make a run that they share afresh only once. Raises
    ``UserError`` for whatever the user can mend.
    """
    cleared = set() if cleared is None else cleared
    if scale not in (None, "mini", "full"):
        raise UserError(f"scale must be 'mini' or 'full', not {scale!r}")
    if intervals is not None and intervals < 1:
        raise UserError(f"intervals must be 1 or more, not {intervals}")
    environment, logdir = determinism.start(deterministic=deterministic), Path(logdir)
    scale = scale or default_scale()
    names = list(dict.fromkeys(_several(arms) or experiment.at[scale]))
    wanted = {resolve(experiment, name, scale, changes).dataset for name in names}
    sources = datasets.choose(_several(data), wanted)
    loaded = {name: datasets.load(name, source) for name, source in sources.items()}
    planned = plan(
        experiment,
        scale,
        arms=names,
        seeds=seeds or experiment.seeds,
        changes=changes or {},
        data={name: dataset.identity() for name, (dataset, _) in loaded.items()},
        environment=environment,
    )
    if begin:
        begin(planned, [warning for _, warning in loaded.values() if warning])
    runs = []
    for number, run in enumerate(planned, 1):
        name = experiment.named(run)
        tell(f"\n[{number}/{len(planned)}] {name}, seed {run.seed}: {run.arm.about}")
        dataset, _ = loaded[run.arm.dataset]
        directory = record.directory_of(run, logdir)
        afresh = fresh and directory not in cleared
        cleared.add(directory)
        options: dict[str, Any] = {"intervals": intervals, "fresh": afresh, "verbose": verbose}
        runs.append(made(run, logdir, dataset, tell=tell, **options))
    seeded = {run.seed for run in runs} >= set(experiment.seeds)
    whole = seeded and not (arms or changes or intervals)
    picture = logdir / experiment.name / scale / PICTURES[whole]
    plots.picture(experiment, runs, picture)
    return Result(experiment, runs, judge(experiment, runs), logdir, picture)


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


def made(
    run: Run,
    logdir: Path,
    dataset: Dataset,
    *,
    intervals: int | None = None,
    fresh: bool = False,
    verbose: int = 0,
    tell: Callable[[str], None] = print,
) -> Run:
    """Make a planned run, or go on with it, or return it where it is made already.

    The rest is as for ``training.train``; ``fresh`` first deletes what the run's directory holds
    of a former one.
    """
    directory = record.directory_of(run, logdir)
    with files.owned(directory):
        if fresh:
            record.clear(run, directory)
        found = record.load(directory, tell)
        if found is not None:
            record.check_same(found, run, directory)
            if _reaches(found, intervals):
                tell(f"{directory} holds this run already; --fresh would repeat it")
                return replace(found, arm=run.arm)
            if found.commit != record.commit():
                tell(f"begun by commit {found.commit}, going on with {record.commit()}")
        from experiments.harness.training import train  # imports keras: only where it is needed

        started = found.started if found else datetime.now(UTC).isoformat(timespec="seconds")
        begun = replace(run, started=started, commit=record.commit())
        return train(begun, directory, dataset, intervals=intervals, verbose=verbose, tell=tell)


def _reaches(run: Run, intervals: int | None) -> bool:
    """Return whether a run was brought to its end, or at least to as many intervals."""
    enough = intervals is not None and run.intervals >= intervals
    return run.status == "complete" or (run.status == "partial" and enough)
