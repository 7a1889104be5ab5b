"""The Keras callback that writes TensorBoard events."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np

from experiments.harness.model import training_state
from experiments.harness.model.gradients import Batch
from experiments.harness.model.variables import to_numpy
from experiments.harness.runtime.filesystem import check_local
from experiments.harness.runtime.log import logger
from experiments.harness.telemetry import example_batch, image_grid, scalars
from experiments.harness.telemetry.activations import BatchReader
from experiments.harness.telemetry.event_writer import EventWriter
from experiments.harness.telemetry.graph import graph_def
from experiments.harness.telemetry.layer_tags import BATCH_TAG, has_graph, layer_tags
from experiments.harness.telemetry.metric_names import tensorboard_tag
from experiments.harness.telemetry.scalars import Numbers, Tensors

KINDS = ("variables", "updates", "outputs", "gradients", "images", "graph")
DEFAULT_EVERY = 10


class Telemetry(keras.callbacks.Callback):
    """Write TensorBoard events of a model's training, on any backend.

    Each epoch's logs are written as scalars, a metric of several values as one each. Before the
    first step, after every ``every``th epoch and after the last, however training ends, histograms
    and derived scalars are written for each of ``kinds``:

    - ``variables``: each weight and bias; the number of distinct units in each layer;
    - ``updates``: the epoch's change of each variable; its norm relative to the norm before;
    - ``outputs``: each layer's output in training mode, also before its activation; mean, standard
      deviation, and the share of units that a ReLU leaves at 0 for the whole batch;
    - ``gradients``: the loss's gradient for each variable; its norm;
    - ``images``: the batch as the first layer with weights receives it, and that layer's filters;
    - ``graph``: one node per layer, in groups.

    ``batch`` is inputs, targets and optional sample weights: arrays or DataFrames, or dicts or
    tuples of them for several inputs or outputs, cut to 32 examples, or to as many as the model's
    fixed batch size; without it there are no outputs, gradients or batch image. A subclassed model
    has no graph: there are its variables, updates, batch image and own output.
    ``hyperparameters`` go to the HParams tab. Non-finite values are counted as ``nonfinite/...``
    and left out of histograms. The step is the optimiser's: its axis is continuous if a resumed
    training restores the optimiser, in any order of callbacks. With ``first_step`` the axis begins
    there and counts batches. The model is only read: training is bit-identical with and without
    this callback. What cannot be read is logged once and left out from then on. ``shared_with`` is
    a callback whose training has begun with the same model: its compiled functions are reused.
    Raises ``ValueError`` for an invalid option, a remote directory and, when training begins, for a
    batch smaller than the model's fixed batch size.
    """

    def __init__(
        self,
        directory: Path | str,
        batch: Batch | None = None,
        *,
        every: int = DEFAULT_EVERY,
        kinds: Collection[str] = KINDS,
        hyperparameters: Mapping[str, bool | float | str] | None = None,
        first_step: int | None = None,
        shared_with: Telemetry | None = None,
    ) -> None:
        super().__init__()
        if unknown := set(kinds) - {*KINDS}:
            raise ValueError(f"unknown kind {unknown.pop()!r}; choose from {', '.join(KINDS)}")
        if every < 1:
            raise ValueError(f"every must be 1 or more, not {every!r}")
        if first_step is not None and first_step < 0:
            raise ValueError(f"first_step must be 0 or more, not {first_step!r}")
        self.first_step = first_step
        self.directory, self.every, self.kinds = check_local(directory), every, frozenset(kinds)
        self.batch = example_batch.to_arrays(batch) if batch is not None else None
        self.hyperparameters, self.shared_with = hyperparameters or {}, shared_with
        self.events: EventWriter | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._finish()  # an earlier training that failed
        self.anatomy = layer_tags(self.model)
        self.batches_before = self.batches = 0
        self.last_snapshot = -1
        self.unreadable: set[str] = set()
        self.probe: BatchReader | None = None
        self.before: Tensors = {}
        self.events = None
        if self.batch:
            batch = example_batch.first_examples(self.model, self.batch)
            self._attempt("batch", self._prepare_probe, batch)
        atexit.register(self._finish_at_exit)

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.batches = self.batches_before + batch + getattr(self.model, "steps_per_execution", 1)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.events is None:  # not before: a later callback may restore in on_train_begin
            self._start_events()
        self.before = {}
        if self._snapshot_due(epoch) and "updates" in self.kinds:
            self._attempt("updates", self._remember_variables)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        step = self._step()
        self.batches_before = self.batches
        self._attempt("learning_rate", self._write_learning_rate, step, logs or {})
        for name in logs or {}:
            self._attempt(name, self._write_metric, step, name, logs)
        if self._snapshot_due(epoch):
            self._write_snapshot(step)
        self._writer().flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._finish()

    def _finish(self) -> None:
        """Write the last snapshot, if it is not written, and close the event file."""
        atexit.unregister(self._finish_at_exit)
        if self.events is None:  # no epoch has begun
            return
        if self.last_snapshot != (step := self._step()):
            self._write_snapshot(step)
        self.events.close()
        self.events = None

    def _finish_at_exit(self) -> None:
        with suppress(OSError):  # the directory may be gone
            self._finish()

    def _start_events(self) -> None:
        """Create the event file; it drops what earlier files have from the next step on."""
        step = self._step()
        resuming = step and any(self.directory.glob("events*"))
        self.events = EventWriter(self.directory, step + 1 if resuming else step)
        if not resuming:
            self._write_static_events()
            self._write_snapshot(step)
            self.events.flush()

    def _attempt(self, what: str, action: Callable[..., None], *args: Any) -> None:
        """Call ``action``; if it fails, log that once and do not call it for ``what`` again."""
        if what in self.unreadable:
            return
        try:
            action(*args)
        except OSError:  # the event file cannot be written
            raise
        except Exception as error:  # training must not die of being watched
            self.unreadable.add(what)
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            logger.warning(f"telemetry cannot read {what} and leaves it out: {reason}")

    def _writer(self) -> EventWriter:
        assert self.events is not None, "no epoch has begun"
        return self.events

    def _prepare_probe(self, batch: Batch) -> None:
        if self.shared_with and self.shared_with.probe:
            self.probe = self.shared_with.probe.for_batch(batch)
        else:
            self.probe = BatchReader(self.model, batch, self.anatomy)

    def _snapshot_due(self, epoch: int) -> bool:
        return (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"]

    def _step(self) -> int:
        if self.first_step is not None:
            return self.first_step + self.batches
        counts = [each.iterations for each in training_state.optimizers(self.model).values()]
        return max((int(to_numpy(count)) for count in counts), default=0)

    def _write_learning_rate(self, step: int, logs: Mapping[str, Any]) -> None:
        if "learning_rate" not in logs and self.model.optimizer:
            rate = to_numpy(self.model.optimizer.learning_rate)
            self._writer().scalar(step, "learning_rate", float(rate))

    def _write_metric(self, step: int, name: str, logs: Mapping[str, Any]) -> None:
        """Write a metric's value; several values one by one, as ``name/0``, ``name/1``."""
        value = logs[name]
        if keras.ops.is_tensor(value):
            value = to_numpy(value)
        values = np.asarray(value, dtype="float64")
        tag = tensorboard_tag(name, logs)
        for index in np.ndindex(values.shape):
            suffix = f"/{'_'.join(map(str, index))}" if values.size > 1 else ""
            self._writer().scalar(step, f"{tag}{suffix}", float(values[index]))

    def _variables(self) -> Tensors:
        if not has_graph(self.model):  # its layers may be built by now
            self.anatomy = layer_tags(self.model)
        tags = self.anatomy.variables
        return {tag: to_numpy(v) for tag, v in tags.items()}

    def _remember_variables(self) -> None:
        self.before = self._variables()

    def _write_static_events(self) -> None:
        if self.hyperparameters:
            self._attempt("hyperparameters", self._writer().hyperparameters, self.hyperparameters)
        for kind, write in (("graph", self._write_graph), ("images", self._write_batch_image)):
            if kind in self.kinds:
                self._attempt(kind, write)

    def _write_graph(self) -> None:
        if not has_graph(self.model):
            return
        self._writer().graph(graph_def(self.model, self.anatomy.groups))

    def _write_batch_image(self) -> None:
        if self.probe:
            batch = self.probe.first_input()
            if image_grid.are_images(batch):
                self._writer().image(0, f"{BATCH_TAG}/seen", image_grid.image_grid(batch))

    def _write_snapshot(self, step: int) -> None:
        self.last_snapshot = step
        for kind, write in (
            ("variables", self._write_variables),
            ("updates", self._write_updates),
            ("outputs", self._write_outputs),
            ("gradients", self._write_gradients),
            ("images", self._write_filters),
        ):
            if kind in self.kinds:
                self._attempt(kind, write, step)

    def _write_variables(self, step: int) -> None:
        variables = self._variables()
        self._write(step, "", variables, scalars.count_distinct_units(variables))

    def _write_updates(self, step: int) -> None:
        if self.before:
            after = {tag: v for tag, v in self._variables().items() if tag in self.before}
            updates = scalars.changes(self.before, after)
            self._write(step, "/update", updates, scalars.relative_updates(updates, self.before))

    def _write_outputs(self, step: int) -> None:
        if self.probe:
            outputs = self.probe.outputs()
            rectified = self.anatomy.relu_outputs
            self._write(step, "", outputs, scalars.output_statistics(outputs, rectified))

    def _write_gradients(self, step: int) -> None:
        if self.probe:
            gradients = self.probe.gradients()
            self._write(step, "/gradient", gradients, scalars.gradient_norms(gradients))

    def _write_filters(self, step: int) -> None:
        if tag := self.anatomy.filters:
            filters = to_numpy(self.anatomy.variables[tag])
            if image_grid.are_filters(filters):
                self._writer().image(step, f"{tag}/filters", image_grid.filter_grid(filters))

    def _write(self, step: int, suffix: str, tensors: Tensors, numbers: Numbers) -> None:
        """Write a histogram of each tensor, at its tag and ``suffix``, and the scalars."""
        for tag, tensor in tensors.items():
            self._writer().histogram(step, f"{tag}{suffix}", tensor)
        for tag, value in numbers.items():
            self._writer().scalar(step, tag, value)
