"""A run directory as a ``fit`` finds it: empty, or with a training to go on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
from keras.src.utils import rng_utils
from numpy.typing import NDArray

from experiments.harness.runtime import determinism, log
from experiments.harness.spec import History, ScriptRun, ScriptSpec, UserError, identity
from experiments.harness.storage import checkpoint, provenance, run_record
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.storage.fingerprint import link, tensor_digests
from experiments.harness.training.scripts import sessions
from experiments.harness.training.scripts.description import command, describe, script_folder
from experiments.harness.training.scripts.fit_call import FitCall

OTHER = "name another directory, or delete it to start over"


@dataclass
class Opened:
    """The run in ``directory`` and its checkpoint to go on from; ``found`` if it was there.

    ``next_epoch`` is the epoch to go on with, by Keras's count from 0.
    """

    directory: Path
    run: ScriptRun
    first: Checkpoint | None = None
    next_epoch: int | None = None
    inexact: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Whether there is a training to go on with."""
        return self.next_epoch is not None

    @property
    def extra(self) -> Mapping[str, Any]:
        """What the checkpoint has besides tensors; empty if there is none."""
        return self.first.extra if self.first else {}

    def start(self, tensors: Mapping[str, NDArray[Any]], extra: Mapping[str, Any]) -> None:
        """Save the checkpoint before the first epoch."""
        self.first = Checkpoint(
            run_id=_run_id(self.run.spec),
            interval=0,
            tensors=tensors,
            initial={},
            history=History(),
            chain=(link("", tensors, {}),),
            digests=(tensor_digests(tensors),),
            seconds=0.0,
            cpu_seconds=0.0,
            extra=extra,
        )
        checkpoint.save(self.first, self.directory / "state")

    def add_inexact(self, why: str) -> None:
        """Record that from here on the bits may differ from an undisturbed training's."""
        note = {"after": self.first.interval if self.first else 0, "why": why}
        if note not in self.inexact:
            self.inexact.append(note)
        self.run = replace(self.run, inexact=tuple(self.inexact))


def open_directory(
    directory: Path,
    model: keras.Model,
    call: FitCall,
    params: Mapping[str, Any],
    on_other_hardware: str,
    fresh: Mapping[str, str],
) -> Opened:
    """Return what ``directory`` holds for a ``fit`` of ``model``; print what the user must know.

    ``params`` are Keras's for callbacks, ``fresh`` the digests of the model's variables as the
    script has built them. Raises ``UserError`` if the directory belongs to another training.
    """
    spec = _plan(model, call, params)
    again = sessions.has_begun(directory)
    recorded = run_record.load_any(directory)
    if recorded is not None and not isinstance(recorded, ScriptRun):
        raise UserError(f"{directory} belongs to another run: {recorded.spec.title}; {OTHER}")
    found, damaged = checkpoint.load_newest(directory / "state")
    for line in damaged:
        log.announce(line)
    if found is None and (damaged or (recorded and recorded.chain)):
        raise UserError(f"{directory} has a record but no valid checkpoint; {OTHER}")
    run = recorded or ScriptRun(spec, started=_now(), commit=provenance.commit(script_folder()))
    opened = Opened(directory, run, found)
    doubt = call.inexact_data()
    if found is None:
        _announce_start(directory, spec, doubt)
        return opened
    if not found.extra:
        raise UserError(f"{directory} belongs to another run; {OTHER}")
    opened.inexact = [*found.extra["inexact"]]  # not the record's: it may be of a lost epoch
    opened.run = replace(run, inexact=tuple(opened.inexact))
    _check_same(opened, recorded, spec, again)
    _check_environment(opened, spec, on_other_hardware)
    if not (again or opened.inexact or spec.seed is None):
        _check_fresh(directory, found.extra["fresh"], fresh)
    if _choose_epoch(opened, params["epochs"], call) and doubt:
        opened.add_inexact(doubt)
        log.announce(f"{directory}: not exact from here on: {doubt}")
    return opened


def _plan(model: keras.Model, call: FitCall, params: Mapping[str, Any]) -> ScriptSpec:
    if batches := call.batches:
        if call.epochs.steps_per_epoch not in (None, batches.steps):
            raise UserError("with Batches leave out steps_per_epoch: Batches(steps=N) sets it")
        if call.arguments.get("class_weight") is not None:
            raise UserError("Batches ignores class_weight; give it sample_weight")
    return ScriptSpec(
        script=command(),
        model=describe(model),
        data=call.data_identity(),
        steps=params["steps"],
        seed=rng_utils.get_random_seed(),
        environment=determinism.found(),
    )


def _announce_start(directory: Path, spec: ScriptSpec, doubt: str) -> None:
    if spec.environment.get("deterministic") is False:
        log.announce(
            f"{directory}: experiments.deterministic() was not called before keras: the training "
            "may not repeat, nor resume, to the same bits"
        )
    if doubt:
        log.announce(f"{directory}: cannot be resumed exactly: {doubt}")


def _check_same(opened: Opened, recorded: ScriptRun | None, spec: ScriptSpec, again: bool) -> None:
    """Raise ``UserError`` if a run is not of the model, data and seed of ``spec``."""
    assert opened.first
    if recorded is None:  # it was damaged, and is written again
        if opened.first.run_id != _run_id(spec):
            raise UserError(f"{opened.directory} belongs to another run; {OTHER}")
        return
    was, now = (_without_environment(each) for each in (recorded.spec, spec))
    if again:  # the training itself may have changed the learning rates
        was["model"], now["model"] = ({**e["model"], "optimizers": None} for e in (was, now))
    if found := [f"{path} ({a[:60]} there, {b[:60]} here)" for path, a, b in _differ(was, now)]:
        raise UserError(
            f"{opened.directory} belongs to another run: {'; '.join(found[:3])}; {OTHER}"
        )


def _check_environment(opened: Opened, spec: ScriptSpec, on_other_hardware: str) -> None:
    was = opened.run.spec.environment
    differing = _differ(dict(was), identity.known_to(was, spec.environment))
    if not differing:
        return
    text = "; ".join(f"{path} ({a} there, {b} here)" for path, a, b in differing[:3])
    if on_other_hardware == "refuse":
        raise UserError(
            f"{opened.directory} was recorded in another environment: {text}; "
            'Recorder(..., on_other_hardware="continue") goes on, to other bits'
        )
    opened.add_inexact(f"another environment: {text}")
    log.announce(f"{opened.directory}: not exact from here on: another environment: {text}")


def _check_fresh(directory: Path, was: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise ``UserError`` if the script has built a model with other initial values."""
    for name in (name for name in was if name in now and not name.startswith("generator/")):
        if was[name] != now[name]:
            raise UserError(
                f"{directory} belongs to another run: {name} has other initial values, from "
                f"another seed or from a script that does not repeat; {OTHER}"
            )


def _choose_epoch(opened: Opened, epochs: int, call: FitCall) -> bool:
    """Set the epoch to go on with, and return whether any is left of ``epochs``."""
    assert opened.first
    directory, extra = opened.directory, opened.first.extra
    done, stopped = extra["next_epoch"], extra["stopped"]
    if epochs < done:
        raise UserError(
            f"{directory} has {done} epochs already, and fit asks for {epochs}; ask for {done} or "
            f"more, or {OTHER}"
        )
    if stopped or epochs == done:
        if sessions.has_finished(directory):
            raise UserError(
                f"{directory} has the fit that this script ran before, and nothing is left of this "
                "one; give each fit a directory of its own"
            )
        by = ", stopped by a callback" if stopped and done < epochs else ""
        log.announce(f"{directory}: finished after epoch {done}{by}")
        opened.next_epoch = epochs
        return False
    if done == extra["epochs"]:
        _undo_last_epoch(opened, call)
    opened.next_epoch = opened.first.extra["next_epoch"]
    if opened.first.interval:
        log.announce(f"{directory}: resuming after epoch {opened.next_epoch} of {epochs}")
    return True


def _undo_last_epoch(opened: Opened, call: FitCall) -> None:
    """Go back one epoch if a callback has done something particular in the last one of a fit."""
    if not any(getattr(each, "swap_on_epoch", False) for each in call.callbacks.callbacks):
        return
    assert opened.first
    folder, last = opened.directory / "state", opened.first.interval - 1
    before, _ = checkpoint.load_newest(folder, until=last)
    if before and before.interval == last:
        opened.first = before
    else:
        opened.add_inexact("SwapEMAWeights replaced the weights by their averages")


def _differ(was: Any, now: Any) -> list[tuple[str, str, str]]:
    return identity.differences(json.loads(json.dumps(was)), json.loads(json.dumps(now)))


def _without_environment(spec: ScriptSpec) -> dict[str, Any]:
    return {name: part for name, part in spec.identity().items() if name != "environment"}


def _run_id(spec: ScriptSpec) -> str:
    return identity.json_digest(_without_environment(spec))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
