"""Documented experiments, re-run to the last bit and judged.

``load(name)`` returns an experiment as data, ``run(name, ...)`` trains it and judges its claims:
one of the catalogue, or a file or module of one's own.
For a training of one's own: ``deterministic()`` pins what changes bits, ``Recorder`` is the
callback that resumes exactly, ``Batches`` are data in an order that can be resumed, ``Telemetry``
is the TensorBoard callback.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.harness.spec import UserError

if TYPE_CHECKING:
    from experiments.harness.data.batches import Batches
    from experiments.harness.reporting.result import Result
    from experiments.harness.spec import Experiment, Scale
    from experiments.harness.telemetry.callback import Telemetry
    from experiments.harness.training.scripts.recorder import Recorder

__all__ = ["Batches", "Recorder", "Telemetry", "UserError", "deterministic", "load", "run"]

NEED_KERAS = {  # names whose modules import keras
    "Batches": "experiments.harness.data.batches",
    "Recorder": "experiments.harness.training.scripts.recorder",
    "Telemetry": "experiments.harness.telemetry.callback",
}


def load(name: str | Path) -> Experiment:
    """Return the experiment called ``name`` as data: its question, arms and claims.

    ``name`` is one of the catalogue, or the file or the module of one's own
    (``path/to/mine.py``, ``my_package.mine``). Raises ``UserError`` if there is none.
    """
    from experiments import catalog
    from experiments.harness.study import own_experiment

    name = str(name)
    if not own_experiment.is_own(name):
        if name not in catalog.names() and Path(f"{name}.py").is_file():
            raise UserError(f"unknown experiment {name!r}; for the file here, write {name}.py")
        return catalog.load(name)
    experiment = own_experiment.load(name, catalog.load)
    if experiment.name in catalog.names():
        raise UserError(f"{name}: the catalogue has another {experiment.name}; rename the file")
    return experiment


def deterministic(
    seed: int = 0, *, threads: int | None = None, portable: bool = False
) -> dict[str, Any]:
    """Make this process train reproducibly, set all seeds, and return its environment.

    Call it before anything imports keras: it imports keras with the backend that Keras would
    choose, with deterministic operations and pinned settings. ``seed`` goes to
    ``keras.utils.set_random_seed``; ``threads`` is the number of processors to use, default all.
    ``portable`` trains on JAX in a way meant to give the same bits on other processors; then call
    it before anything imports NumPy, too. Raises ``UserError`` if keras or the backend was used
    before, or if the profile is not for this machine.
    """
    from experiments.harness.runtime import determinism

    determinism.start(threads=threads, portable=portable)
    import keras

    keras.utils.set_random_seed(seed)
    return dict(determinism.environment())


def run(
    name: str | Path,
    *,
    scale: Scale | None = None,
    arms: Iterable[str] | str | None = None,
    seeds: Iterable[int] | int | None = None,
    data: Iterable[Path | str] | Path | str | None = None,
    overrides: Mapping[str, Any] | None = None,
    logdir: Path | str = "logs",
    stop_after: int | None = None,
    fresh: bool = False,
    jobs: int = 1,
    batch_runs: int | None = None,
    deterministic: bool = True,
    portable: bool = False,
    telemetry_every: int | None = None,
    verbose: int = 0,
    callbacks: Sequence[Any] = (),
) -> Result:
    """Train the runs of an experiment, or load finished ones, and judge its claims.

    Call it before anything imports keras: it makes the process deterministic first.

    ``scale``, ``arms``, ``seeds``, ``data``, ``overrides`` and ``batch_runs`` select and change
    what is trained (``study.plan.StudyRequest``): by default all arms and seeds on the default
    data; a single value stands for a list of it; ``stop_after``, ``telemetry_every``, ``verbose``
    and ``callbacks`` are those of ``training.options.TrainOptions``. ``fresh`` deletes earlier
    results; ``jobs`` is the number of runs trained at a time. ``portable`` trains on JAX in a
    way meant to give the same bits on other processors; then call it before anything imports NumPy,
    too. Progress is logged to ``rerun_zoo``, and printed unless logging is configured. Raises
    ``UserError`` for errors that the caller can fix.
    """
    from experiments.harness.runtime import determinism, filesystem, log, worker_pool

    if portable:  # before the imports below
        determinism.start(deterministic=bool(deterministic), portable=True)
    from experiments.harness.study import execute
    from experiments.harness.study.plan import StudyRequest, plan_study
    from experiments.harness.training.options import TrainOptions

    worker_pool.exit_if_importing_main()
    try:
        folder = filesystem.check_local(logdir)
    except ValueError as error:
        raise UserError(str(error)) from None
    request = StudyRequest(
        load(name),
        scale=scale,
        arms=_to_list("arms", arms),
        seeds=_to_list("seeds", seeds),
        data=[str(source) for source in _to_list("data", data) or ()],
        overrides=overrides or {},
        batch_runs=batch_runs,
    )
    options = TrainOptions(
        stop_after=stop_after,
        telemetry_every=telemetry_every,
        verbose=verbose,
        callbacks=callbacks,
    )
    with log.to_stdout_by_default():
        determinism.start(deterministic=bool(deterministic), portable=bool(portable))
        study = plan_study(request, determinism.environment())
        (result,) = execute.run_studies([study], folder, options, fresh=fresh, jobs=jobs)
    return result


def _to_list(name: str, value: Any) -> list[Any] | None:
    """Return one or several values as a list, None if not given; ``UserError`` if there is none."""
    if value is None:
        return None
    single = isinstance(value, str) or not hasattr(value, "__iter__") or _has_no_axis(value)
    values = [value] if single else [*value]
    if not values or any(isinstance(each, str) and not each for each in values):
        raise UserError(f"{name} is empty; leave it out for the default")
    return values


def _has_no_axis(value: Any) -> bool:
    return getattr(value, "shape", None) == ()  # a NumPy number, or an array of one


def __getattr__(name: str) -> Any:
    if name in NEED_KERAS:
        return getattr(importlib.import_module(NEED_KERAS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
