"""The Keras callback that writes TensorBoard events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from experiments.harness.model.gradients import Batch
from experiments.harness.telemetry import image_grid, scalars
from experiments.harness.telemetry.activations import BatchReader
from experiments.harness.telemetry.event_writer import EventWriter
from experiments.harness.telemetry.graph import graph_def
from experiments.harness.telemetry.layer_tags import BATCH_TAG, layer_tags
from experiments.harness.telemetry.metric_names import tensorboard_tag
from experiments.harness.telemetry.scalars import Numbers, Tensors

KINDS = ("variables", "updates", "outputs", "gradients", "images", "graph")
DEFAULT_EVERY = 10
MAX_EXAMPLES = 32


class Telemetry(keras.callbacks.Callback):
    """Write TensorBoard events of a functional model's training, on any backend.

    Each epoch's logs are written as scalars. Before the first step, after every ``every``th epoch
    and after the last, histograms and derived scalars are written for each of ``kinds``:

    - ``variables``: each weight and bias; the number of distinct units in each layer;
    - ``updates``: the epoch's change of each variable; its norm relative to the norm before;
    - ``outputs``: each layer's output in training mode, also before its activation; mean, standard
      deviation, and the share of units that a ReLU leaves at 0 for the whole batch;
    - ``gradients``: the loss's gradient for each variable; its norm;
    - ``images``: the batch as the first layer with weights receives it, and that layer's filters;
    - ``graph``: one node per layer, in groups.

    ``batch`` is inputs, targets and optional sample weights, cut to 32 examples; without it there
    are no outputs, gradients or batch image. ``hyperparameters`` go to the HParams tab. Non-finite
    values are counted as ``nonfinite/...`` and left out of histograms. The step is the optimiser's:
    its axis is continuous if a resumed training restores the optimiser. The model is only read:
    training is bit-identical with and without this callback. ``shared_with`` is a callback whose
    training has begun with the same model: its compiled functions are reused. Raises ``ValueError``
    for an invalid option and, when training begins, for a model that is not functional or has
    several inputs or outputs.
    """

    def __init__(
        self,
        directory: Path | str,
        batch: Batch | None = None,
        *,
        every: int = DEFAULT_EVERY,
        kinds: Collection[str] = KINDS,
        hyperparameters: Mapping[str, bool | float | str] | None = None,
        shared_with: Telemetry | None = None,
    ) -> None:
        super().__init__()
        if unknown := set(kinds) - {*KINDS}:
            raise ValueError(f"unknown kind {unknown.pop()!r}; choose from {', '.join(KINDS)}")
        if every < 1:
            raise ValueError(f"every must be 1 or more, not {every!r}")
        self.directory, self.every, self.kinds = Path(directory), every, frozenset(kinds)
        if batch is not None and not (isinstance(batch, tuple) and len(batch) in (2, 3)):
            raise ValueError("batch must be a tuple of inputs, targets and optional sample weights")
        self.batch = tuple(part[:MAX_EXAMPLES] for part in batch) if batch else None
        self.hyperparameters, self.shared_with = hyperparameters or {}, shared_with

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.anatomy = layer_tags(self.model)
        self.probe = self._batch_reader(self.batch) if self.batch else None
        self.before: Tensors = {}
        step = self._step()
        resuming = step and any(self.directory.glob("events*"))
        self.events = EventWriter(self.directory, step + 1 if resuming else step)
        if not resuming:
            self._write_static_events()
            self._write_snapshot(step)
            self.events.flush()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        needed = self._snapshot_due(epoch) and "updates" in self.kinds
        self.before = self._variables() if needed else {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        step = self._step()
        logs = {"learning_rate": self._learning_rate(), **(logs or {})}
        for name, value in logs.items():
            self.events.scalar(step, tensorboard_tag(name, logs), value)
        if self._snapshot_due(epoch):
            self._write_snapshot(step)
        self.events.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.events.close()

    def _batch_reader(self, batch: Batch) -> BatchReader:
        if self.shared_with and self.shared_with.probe:
            return self.shared_with.probe.for_batch(batch)
        return BatchReader(self.model, batch, self.anatomy)

    def _snapshot_due(self, epoch: int) -> bool:
        return (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"]

    def _step(self) -> int:
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _learning_rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _variables(self) -> Tensors:
        tags = self.anatomy.variables
        return {tag: np.array(keras.ops.convert_to_numpy(v)) for tag, v in tags.items()}

    def _write_static_events(self) -> None:
        if self.hyperparameters:
            self.events.hyperparameters(self.hyperparameters)
        if "graph" in self.kinds:
            self.events.graph(graph_def(self.model, self.anatomy.groups))
        if "images" in self.kinds and self.probe:
            batch = self.probe.first_input()
            if image_grid.are_images(batch):
                self.events.image(0, f"{BATCH_TAG}/seen", image_grid.image_grid(batch))

    def _write_snapshot(self, step: int) -> None:
        variables = self._variables()
        for suffix, tensors, numbers in self._measure(variables):
            for tag, tensor in tensors.items():
                self.events.histogram(step, f"{tag}{suffix}", tensor)
            for tag, value in numbers.items():
                self.events.scalar(step, tag, value)
        filters = variables.get(self.anatomy.filters or "")
        if "images" in self.kinds and filters is not None and image_grid.are_filters(filters):
            self.events.image(
                step, f"{self.anatomy.filters}/filters", image_grid.filter_grid(filters)
            )

    def _measure(self, variables: Tensors) -> Iterator[tuple[str, Tensors, Numbers]]:
        """Yield, for each kind: the suffix of its histograms' tags, its tensors, its scalars."""
        if "variables" in self.kinds:
            yield "", variables, scalars.count_distinct_units(variables)
        if self.before:
            updates = scalars.changes(self.before, variables)
            yield "/update", updates, scalars.relative_updates(updates, self.before)
        if "outputs" in self.kinds and self.probe:
            outputs = self.probe.outputs()
            yield "", outputs, scalars.output_statistics(outputs, self.anatomy.relu_outputs)
        if "gradients" in self.kinds and self.probe:
            gradients = self.probe.gradients()
            yield "/gradient", gradients, scalars.gradient_norms(gradients)
