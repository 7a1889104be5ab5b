"""From a request to planned runs: which arms and seeds of an experiment, on which data."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.harness.data import sources
from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import Arm, Experiment, RunSpec, Scale, UserError, batching
from experiments.harness.spec.overrides import CONFIGS, arms_at, resolve
from experiments.harness.storage import source_code

Load = Callable[[str, str], tuple[Dataset, str | None]]


@dataclass(frozen=True)
class StudyRequest:
    """A part of an experiment, as a user requests it; None means all of the experiment's own.

    ``scale``: by default ``full`` on an accelerator, else ``mini``. ``seeds`` are whole numbers,
    NumPy's too. ``data`` names sources (``data.sources``) that replace the default ones.
    ``batch_runs`` trains runs that can share a program in batches of at most this size; 0 is
    no limit, None trains each run alone.
    """

    experiment: Experiment
    scale: Scale | None = None
    arms: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    data: Sequence[str] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    batch_runs: int | None = None

    def resolved_arms(self, scale: Scale) -> dict[str, Arm]:
        """Return the arms by name as they are trained at ``scale``; ``UserError`` for bad ones."""
        names = arms_at(self.experiment, scale) if self.arms is None else self.arms
        if not names:
            raise UserError("no arms are chosen; leave arms out for all of them")
        if unnamed := [name for name in names if not isinstance(name, str)]:
            raise UserError(f"arms are named by strings, not {unnamed[0]!r}")
        return {
            name: resolve(self.experiment, name, scale, self.overrides)
            for name in dict.fromkeys(names)
        }

    def distinct_seeds(self) -> list[int]:
        """Return the seeds, each once; ``UserError`` for bad ones."""
        seeds = self.experiment.seeds if self.seeds is None else self.seeds
        if not len(seeds):
            raise UserError("no seeds are chosen; leave seeds out for all of them")
        return [*dict.fromkeys(map(_to_seed, seeds))]


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
    scale = default_scale(environment) if request.scale is None else request.scale
    arms, seeds = request.resolved_arms(scale), request.distinct_seeds()
    wanted = {arm.dataset for arm in arms.values()}
    beside = str(Path(experiment.file).parent) if experiment.file else ""
    chosen = sources.sources_by_dataset(request.data, wanted, beside)
    loaded = {name: load(name, source) for name, source in chosen.items()}
    data = {name: dataset for name, (dataset, _) in loaded.items()}
    specs = _plan_runs(request, seeds, arms, scale, chosen, data, environment)
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
        covers_everything=all_seeds and request.arms is None and not request.overrides,
        batches=batches,
    )


def _plan_runs(
    request: StudyRequest,
    seeds: Iterable[int],
    arms: Mapping[str, Arm],
    scale: Scale,
    chosen: Mapping[str, str],
    data: Mapping[str, Dataset],
    environment: Mapping[str, Any],
) -> list[RunSpec]:
    """Return the runs of the request, seed by seed."""
    specs = []
    for seed in seeds:
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
                data_source=sources.absolute_path(chosen[arm.dataset]),
                **own_code(request.experiment, owner, arm, chosen[arm.dataset]),
            )
            specs.append(spec)
    return specs


def own_code(experiment: Experiment, owner: str, arm: Arm, source: str) -> dict[str, Any]:
    """Return the fields of a ``RunSpec`` about the user's own code; none for the catalogue's.

    These are the experiment's file, and the modules of the arm's network, loss, optimiser and data.
    """
    names = [getattr(arm, part)["class_name"] for part in CONFIGS]
    names.append(source.removesuffix(sources.VALIDATION_SUFFIX))
    modules = [source_code.module_of(name) for name in names if source_code.is_reference(name)]
    if not experiment.folder or owner != experiment.name:
        if modules:
            raise UserError(
                f"{modules[0]} is code of your own: an experiment of your own can use it"
            )
        return {}
    folder = Path(experiment.folder)
    code = source_code.digests(folder, [Path(experiment.file), *modules])
    return {"code": code, "code_folder": experiment.folder}


def _to_seed(value: Any) -> int:
    try:
        seed = operator.index(value)
    except TypeError:
        seed = -1
    if isinstance(value, bool) or not 0 <= seed < 2**32:
        raise UserError(f"a seed must be a whole number from 0 to 2**32 - 1, not {value!r}")
    return seed


def default_scale(environment: Mapping[str, Any]) -> Scale:
    """Return ``full`` if the environment has an accelerator, else ``mini``."""
    return "mini" if environment["device"] == "cpu" else "full"
