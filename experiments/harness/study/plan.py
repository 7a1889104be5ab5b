"""A study: chosen arms and seeds of an experiment, planned as runs, carried out, and judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.harness.data import sources
from experiments.harness.data.dataset import Dataset
from experiments.harness.runtime import determinism
from experiments.harness.spec import Experiment, Run, Scale, UserError, batching
from experiments.harness.spec.overrides import resolve


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


def plan_study(
    experiment: Experiment,
    *,
    scale: Scale | None = None,
    arms: Iterable[str] | str | None = None,
    seeds: Iterable[int] | None = None,
    data: Iterable[str] | str = (),
    changes: Mapping[str, Any] | None = None,
    deterministic: bool = True,
    together: int | None = None,
    load: Callable[[str, str], tuple[Dataset, str | None]] = sources.load,
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
    chosen = sources.choose(_several(data), wanted)
    loaded = {name: load(name, source) for name, source in chosen.items()}
    runs = plan_runs(
        experiment,
        scale,
        arms=names,
        seeds=seeds or experiment.seeds,
        changes=changes or {},
        data={name: dataset.identity() for name, (dataset, _) in loaded.items()},
        environment=environment,
    )
    groups = batching.group_runs(runs, together) if together is not None else []
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


def plan_runs(
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
