"""The callback that writes what TensorBoard shows of a training."""

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
from experiments.harness.telemetry.metric_names import tag_of
from experiments.harness.telemetry.scalars import Numbers, Tensors

KINDS = ("variables", "updates", "outputs", "gradients", "images", "graph")
EVERY = 10
IMAGES = 32


class Telemetry(keras.callbacks.Callback):
    """Write TensorBoard events of a functional model's training, on any backend.

    After each epoch the scalars of its logs. Before the first step, after every ``every``th
    epoch and after the last also histograms, and what they come to as scalars, of the ``kinds``:

    - ``variables``: each weight and bias; a layer's number of distinct units;
    - ``updates``: what the epoch changed in them; the change's norm by the norm before it;
    - ``outputs``: each layer's output in training mode, before its activation too; mean, spread,
      and the share of units that a ReLU leaves at 0 for the whole batch;
    - ``gradients``: the loss's gradient for each variable; its norm;
    - ``images``: the batch as the first layer with weights is given it, and that layer's filters;
    - ``graph``: a node a layer, in groups.

    ``batch`` is what the model is asked about: examples, targets and maybe a weight for each, of
    which the first 32 are used; without it there are no outputs and no gradients.
    ``hyperparameters`` tell the training apart from others, in the HParams tab. Values that are
    not finite are counted, as ``nonfinite/...``, and left out of histograms. The step is the
    optimiser's: a training that goes on with its optimiser restored has one unbroken axis. Only
    reads the model: training with this or without it is the same to the last bit. ``twin`` has
    begun with the same model: what is compiled for that is shared. Raises ``ValueError`` for an
    option that is none, and when training begins for a model that is not functional, or has several
    inputs or outputs.
    """

    def __init__(
        self,
        directory: Path | str,
        batch: Batch | None = None,
        *,
        every: int = EVERY,
        kinds: Collection[str] = KINDS,
        hyperparameters: Mapping[str, bool | float | str] | None = None,
        twin: Telemetry | None = None,
    ) -> None:
        super().__init__()
        if unknown := set(kinds) - {*KINDS}:
            raise ValueError(f"no kind is called {unknown.pop()!r}; there are: {', '.join(KINDS)}")
        if every < 1:
            raise ValueError(f"every must be 1 or more, not {every!r}")
        self.directory, self.every, self.kinds = Path(directory), every, frozenset(kinds)
        if batch is not None and not (isinstance(batch, tuple) and len(batch) in (2, 3)):
            raise ValueError("batch must be a tuple: examples, targets and maybe weights")
        self.batch = tuple(part[:IMAGES] for part in batch) if batch else None
        self.hyperparameters, self.twin = hyperparameters or {}, twin

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.anatomy = layer_tags(self.model)
        self.probe = self._probe(self.batch) if self.batch else None
        self.before: Tensors = {}
        step = self._step()
        going_on = step and any(self.directory.glob("events*"))
        self.events = EventWriter(self.directory, step + 1 if going_on else step)
        if not going_on:
            self._once()
            self._snapshot(step)
            self.events.flush()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        wanted = self._due(epoch) and "updates" in self.kinds
        self.before = self._variables() if wanted else {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        step, logs = self._step(), {"learning_rate": self._learning_rate(), **(logs or {})}
        for name, value in logs.items():
            self.events.scalar(step, tag_of(name, logs), value)
        if self._due(epoch):
            self._snapshot(step)
        self.events.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.events.close()

    def _probe(self, batch: Batch) -> BatchReader:
        if self.twin and self.twin.probe:
            return self.twin.probe.about(batch)
        return BatchReader(self.model, batch, self.anatomy)

    def _due(self, epoch: int) -> bool:
        return (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"]

    def _step(self) -> int:
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _learning_rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _variables(self) -> Tensors:
        tags = self.anatomy.variables
        return {tag: np.array(keras.ops.convert_to_numpy(v)) for tag, v in tags.items()}

    def _once(self) -> None:
        if self.hyperparameters:
            self.events.hyperparameters(self.hyperparameters)
        if "graph" in self.kinds:
            self.events.graph(graph_def(self.model, self.anatomy.groups))
        if (
            "images" in self.kinds
            and self.probe
            and image_grid.are_images(seen := self.probe.seen())
        ):
            self.events.image(0, f"{BATCH_TAG}/seen", image_grid.image_grid(seen))

    def _snapshot(self, step: int) -> None:
        variables = self._variables()
        for suffix, tensors, numbers in self._readings(variables):
            for tag, tensor in tensors.items():
                self.events.histogram(step, f"{tag}{suffix}", tensor)
            for tag, value in numbers.items():
                self.events.scalar(step, tag, value)
        filters = variables.get(self.anatomy.filters or "")
        if "images" in self.kinds and filters is not None and image_grid.are_filters(filters):
            self.events.image(
                step, f"{self.anatomy.filters}/filters", image_grid.filter_grid(filters)
            )

    def _readings(self, variables: Tensors) -> Iterator[tuple[str, Tensors, Numbers]]:
        """Yield, for each kind that is wanted: its tags' suffix, its tensors, and its numbers."""
        if "variables" in self.kinds:
            yield "", variables, scalars.of_variables(variables)
        if self.before:
            updates = scalars.changes(self.before, variables)
            yield "/update", updates, scalars.of_updates(updates, self.before)
        if "outputs" in self.kinds and self.probe:
            outputs = self.probe.outputs()
            yield "", outputs, scalars.of_outputs(outputs, self.anatomy.rectified)
        if "gradients" in self.kinds and self.probe:
            gradients = self.probe.gradients()
            yield "/gradient", gradients, scalars.of_gradients(gradients)
