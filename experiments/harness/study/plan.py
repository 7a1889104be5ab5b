"""From a request to planned runs: which arms and seeds of an experiment, on which data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.harness.data import sources
from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import Arm, Experiment, RunSpec, Scale, UserError, batching
from experiments.harness.spec.overrides import resolve

Load = Callable[[str, str], tuple[Dataset, str | None]]


@dataclass(frozen=True)
class StudyRequest:
    """A part of an experiment, as a user requests it; empty fields mean the experiment's own.

    ``scale``: by default ``full`` on an accelerator, else ``mini``. ``data`` names sources
    (``data.sources``). ``batch_runs`` trains runs that can share a program in batches of at most
    this size; 0 is no limit, None trains each run alone.
    """

    experiment: Experiment
    scale: Scale | None = None
    arms: Sequence[str] = ()
    seeds: Sequence[int] = ()
    data: Sequence[str] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    batch_runs: int | None = None

    def resolved_arms(self, scale: Scale) -> dict[str, Arm]:
        """Return the arms by name as they are trained at ``scale``; ``UserError`` for bad ones."""
        names = dict.fromkeys(self.arms or self.experiment.at[scale])
        return {name: resolve(self.experiment, name, scale, self.overrides) for name in names}


@dataclass(frozen=True)
class Study:
    """Planned runs of an experiment, and their data.

    ``sources`` and ``data`` map the name of each dataset to its source and to itself; ``warnings``
    name substitutes. ``covers_everything``: all arms and seeds of the experiment, without
    overrides. ``batches`` are those of the runs that are trained as one program.
    """

    experiment: Experiment
    specs: Sequence[RunSpec]
    sources: Mapping[str, str]
    data: Mapping[str, Dataset]
    warnings: Sequence[str]
    covers_everything: bool
    batches: Sequence[Sequence[RunSpec]] = ()


def plan_study(
    request: StudyRequest, environment: Mapping[str, Any], load: Load = sources.load
) -> Study:
    """Load the data and plan every run of the request, seed by seed.

    ``environment`` is ``determinism.environment()``. Raises ``UserError`` for bad arms, overrides
    or data, and if no runs can share a program though that is requested.
    """
    experiment = request.experiment
    if request.scale not in (None, *experiment.at):
        raise UserError(f"scale must be 'mini' or 'full', not {request.scale!r}")
    scale = request.scale or default_scale(environment)
    arms = request.resolved_arms(scale)
    chosen = sources.sources_by_dataset(request.data, {arm.dataset for arm in arms.values()})
    loaded = {name: load(name, source) for name, source in chosen.items()}
    data = {name: dataset for name, (dataset, _) in loaded.items()}
    specs = _plan_runs(request, scale, arms, data, environment)
    batches = [] if request.batch_runs is None else batching.group_runs(specs, request.batch_runs)
    batched = {(spec.arm_id, spec.seed): spec for batch in batches for spec in batch}
    specs = [batched.get((spec.arm_id, spec.seed), spec) for spec in specs]
    all_seeds = {spec.seed for spec in specs} >= set(experiment.seeds)
    return Study(
        experiment,
        specs,
        chosen,
        data,
        [warning for _, warning in loaded.values() if warning],
        covers_everything=all_seeds and not (request.arms or request.overrides),
        batches=batches,
    )


def _plan_runs(
    request: StudyRequest,
    scale: Scale,
    arms: Mapping[str, Arm],
    data: Mapping[str, Dataset],
    environment: Mapping[str, Any],
) -> list[RunSpec]:
    """Return the runs of the request, seed by seed."""
    specs = []
    for seed in dict.fromkeys(request.seeds or request.experiment.seeds):
        for name, arm in arms.items():
            owner, owned_name = request.experiment.arm_ids[name].split(":")
            spec = RunSpec(
                experiment=owner,
                arm_name=owned_name,
                arm=arm,
                seed=seed,
                scale=scale,
                dataset=data[arm.dataset].identity(),
                environment=environment,
                overrides=request.overrides,
            )
            specs.append(spec)
    return specs


def default_scale(environment: Mapping[str, Any]) -> Scale:
    """Return ``full`` if the environment has an accelerator, else ``mini``."""
    return "mini" if environment["device"] == "cpu" else "full"
