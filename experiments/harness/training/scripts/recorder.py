"""The Keras callback that records a user's own ``fit``, and resumes it exactly."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness.model import training_state
from experiments.harness.model.variables import to_numpy
from experiments.harness.runtime import filesystem, generators, log
from experiments.harness.spec import ScriptRun, UserError
from experiments.harness.storage import provenance
from experiments.harness.storage.fingerprint import batch_checksum, tensor_digests
from experiments.harness.telemetry.metric_names import history_row
from experiments.harness.training.run_writer import RunWriter
from experiments.harness.training.scripts import callback_state, sessions
from experiments.harness.training.scripts.description import script_folder
from experiments.harness.training.scripts.fit_call import FitCall, find_fit
from experiments.harness.training.scripts.opening import open_directory
from experiments.harness.training.stopwatch import Stopwatch

Tensors = Mapping[str, NDArray[Any]]


class Recorder(keras.callbacks.Callback):
    """Record a ``fit`` in ``directory``; if it is there already, resume it to the same bits.

    After each epoch the whole state of the training is saved, hashed and recorded: weights,
    optimisers, seeds, the generators of backend, NumPy and Python, and the states of the other
    callbacks in the list, in any order. The same script, run again after it ended or was killed,
    goes on after its last whole epoch with that epoch's number and history, as if undisturbed. A
    finished run returns from ``fit`` at once; with more ``epochs`` it is extended.

    Keras's callbacks are restored; a callback of one's own is if it has ``get_state()`` and
    ``set_state(state)``. The order of ``experiments.Batches`` is resumed, and of arrays unless
    TensorFlow shuffles them; of other data a line says what is not. ``experiments.deterministic``
    makes an undisturbed training repeat in the first place.

    One directory belongs to one ``fit``. Another model, data, seed or environment is refused with
    ``UserError``; ``on_other_hardware="continue"`` goes on in another environment, and the record
    says from which epoch on the bits may differ.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        on_other_hardware: Literal["refuse", "continue"] = "refuse",
    ) -> None:
        super().__init__()
        if on_other_hardware not in ("refuse", "continue"):
            raise UserError(f"on_other_hardware is 'refuse' or 'continue', not {on_other_hardware}")
        try:
            self.directory = filesystem.check_local(directory)
        except ValueError as error:
            raise UserError(str(error)) from None
        self.on_other_hardware = on_other_hardware

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.call = find_fit(self)
        others = self._others(self.call)
        with sessions.locked(self.directory):
            self._build()
            self.fresh = tensor_digests(training_state.read(self.model))
            self.opened = open_directory(
                self.directory,
                self.model,
                self.call,
                self.params,
                self.on_other_hardware,
                self.fresh,
            )
            if self.opened.found:
                callback_state.keep_rows(others, self.opened.extra["callbacks"])
                self._restore_model()
                self.model._initial_epoch = self.opened.next_epoch
        self.writer: RunWriter[ScriptRun] | None = None
        self.batches_taken, self.logged, self.restored_generators = 0, set[str](), False
        first = _First(self)
        first.set_params(self.params)
        first.set_model(self.model)
        # Restore before all others begin an epoch, and save after all others have ended it.
        self.call.callbacks.callbacks = [first, *others, self]

    def _others(self, call: FitCall) -> list[keras.callbacks.Callback]:
        others = [
            each
            for each in call.callbacks.callbacks
            if each is not self and not isinstance(each, _First)  # of an earlier fit
        ]
        for each in others:
            if isinstance(each, keras.callbacks.BackupAndRestore | Recorder):
                raise UserError(
                    f"leave out {type(each).__name__}: one Recorder resumes the training already"
                )
        return others

    def _build(self) -> None:
        """Build what TensorFlow would build in its first step, as other backends do before."""
        model = self.model
        if keras.backend.backend() != "tensorflow":
            return
        if not all(layer.built for layer in model._flatten_layers()):
            with suppress(Exception):  # a model with a train_step of its own need not have a call
                model._symbolic_build(data_batch=self.call.element_spec())
        elif model.optimizer and type(model).train_step is keras.Model.train_step:
            model.optimizer.build(model.trainable_variables)

    def begin_epoch(self, epoch: int) -> None:
        """Restore the training before its first epoch, after all other callbacks have begun."""
        if batches := self.call.batches:
            batches.next_epoch = epoch
        if self.writer is None:
            self.model._initial_epoch = None  # a later fit of this model has its own
            self._begin(epoch)
        self.stopwatch, self.batches_taken = Stopwatch(), 0

    def _begin(self, epoch: int) -> None:
        if self.opened.found:
            self._restore()
        else:
            self.opened.start(training_state.read(self.model), self._extra(epoch))
        self.writer = self._new_writer()
        self.writer.write_record("running")

    def _new_writer(self) -> RunWriter[ScriptRun]:
        assert self.opened.first
        find_commit = partial(provenance.commit, script_folder())
        return RunWriter(self.opened.run, self.directory, self.opened.first, find_commit)

    def begin_batch(self, batch: int) -> None:
        """Count the batches of an epoch; restore the generators that a new iterator drew from."""
        if self.opened.found and self.call.keeps_iterator and not self.restored_generators:
            self._restore_generators()
        self.restored_generators = True
        self.batches_taken = batch + self.model.steps_per_execution

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert self.writer
        steps = min(self.batches_taken, self.params["steps"] or self.batches_taken)
        rows = self.writer.checkpoint.history.rows
        before = int(rows[-1]["step"]) if rows else 0
        self.writer.append(
            training_state.read(self.model),
            history_row(before + steps, _scalars(logs or {})),
            self._checksums(epoch, steps),
            self.stopwatch.elapsed(),
            self._extra(epoch + 1),
        )

    def begin_end(self) -> None:
        """Restore a finished run before the other callbacks end."""
        self.model._initial_epoch = None
        if self.writer is None and self.opened.found:
            self._restore()
            if self.opened.run.status != "complete":  # it was killed between its last two records
                self.writer = self._new_writer()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.writer:
            self._export()
            self.writer.write_record("complete")
        sessions.finish(self.directory)

    def _export(self) -> None:
        try:
            with filesystem.atomic_replace(self.directory / "model.keras") as temporary:
                self.model.save(temporary)
        except UserError:
            raise
        except Exception as error:  # a user's class that Keras cannot serialise
            self._log_once(f"model.keras is not written: {' '.join(str(error).split())[:200]}")

    def _extra(self, next_epoch: int) -> dict[str, Any]:
        """Return what is saved besides the tensors, before epoch ``next_epoch``."""
        states, unsaved = callback_state.read(self._callbacks())
        for line in unsaved:
            self._log_once(f"not resumed: {line}")
        return {
            "next_epoch": next_epoch,
            "epochs": self.params["epochs"],
            "stopped": bool(self.model.stop_training),
            "fresh": self.opened.extra.get("fresh", self.fresh),
            "inexact": [dict(each) for each in self.opened.inexact],
            "slots": training_state.slots(self.model),
            "generators": generators.host_state(),
            "callbacks": states,
        }

    def _callbacks(self) -> list[keras.callbacks.Callback]:
        return [each for each in self.call.callbacks.callbacks if each is not self]

    def _restore(self) -> None:
        """Restore the model, the generators and the other callbacks."""
        self._restore_model()
        if changed := callback_state.write(self._callbacks(), self.opened.extra["callbacks"]):
            line = f"the callbacks changed: {', '.join(changed)}"
            self._log_once(line)
            self.opened.add_inexact(line)
        self._restore_generators()

    def _restore_model(self) -> None:
        assert self.opened.first
        training_state.build_optimizers(self.model, self.opened.extra["slots"])
        tensors = self.opened.first.tensors
        if difference := training_state.mismatch(self.model, tensors):
            raise UserError(
                f"{self.directory} belongs to another model: {difference}; name another directory, "
                "or build the model before fit if it is built in fit only"
            )
        training_state.write(self.model, tensors)

    def _restore_generators(self) -> None:
        assert self.opened.first
        training_state.write_generators(self.opened.first.tensors)
        generators.restore_host_state(self.opened.extra["generators"])

    def _checksums(self, epoch: int, steps: int) -> str:
        """Return the checksums of the epoch's batches, if their order is known."""
        if not (batches := self.call.batches):
            return ""
        first = epoch * batches.steps
        return "".join(batch_checksum(batches.indices(first + step)) for step in range(steps))

    def _log_once(self, line: str) -> None:
        """Log a line about this training once."""
        if line not in self.logged:
            self.logged.add(line)
            log.announce(f"{self.directory}: {line}")


class _First(keras.callbacks.Callback):
    """Stands before all other callbacks and calls ``recorder`` first."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.recorder.begin_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.recorder.begin_batch(batch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.recorder.begin_end()


def _scalars(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers in the logs; several values of a metric as ``name/0``, ``name/1``."""
    numbers: dict[str, float] = {}
    for name, value in logs.items():
        given = to_numpy(value) if keras.ops.is_tensor(value) else value
        values = np.asarray(given, dtype="float64")
        for index in np.ndindex(values.shape):
            suffix = f"/{'_'.join(map(str, index))}" if values.ndim else ""
            numbers[f"{name}{suffix}"] = float(values[index])
    return numbers
