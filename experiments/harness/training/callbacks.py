"""What is measured of a model beside the test split: the training split, and the probes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness.data import order
from experiments.harness.data.dataset import Dataset
from experiments.harness.data.keras_input import Arrays
from experiments.harness.model import probes
from experiments.harness.model.variables import read
from experiments.harness.runtime import signals
from experiments.harness.runtime.backends import restore_generator_state
from experiments.harness.spec import Run, Status
from experiments.harness.spec.overrides import flatten
from experiments.harness.storage import checkpoint, run_record
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.storage.fingerprint import batch_checksum, link, tensor_digests
from experiments.harness.telemetry.callback import EVERY, Telemetry
from experiments.harness.telemetry.metric_names import history_row


class InterruptCallback(keras.callbacks.Callback):
    """Before each batch, heed an interrupt."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        signals.raise_if_interrupted()

    def on_test_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        signals.raise_if_interrupted()


class EvaluationCallback(keras.callbacks.Callback):
    """After each epoch, add to its logs what the arm wants measured beside the test split."""

    def __init__(self, run: Run, dataset: Dataset, model: keras.Model) -> None:
        super().__init__()
        self.arm, self.dataset = run.arm, dataset
        self.first = self.start = read(model) if run.arm.probes else {}
        begin = dataset.held_out(run.arm.held_out)
        self.watched = dataset.train(slice(begin, begin + run.arm.train_examples))
        self.batch = next(
            order.batches(dataset, run.seed, run.arm.batch_size, held_out=run.arm.held_out)
        )

    def before(self, model: keras.Model) -> dict[str, float]:
        """Return what is measured before the first step."""
        told = {}
        if self.arm.evaluate_first:
            test = self.dataset.test(slice(self.arm.test_examples))
            told = self._evaluated(model, test, "test") | self._train(model)
        return told | self._probed(model, untrained=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.start = read(self.model) if self.arm.probes else {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            logs |= self._train(self.model) | self._probed(self.model)

    def _train(self, model: keras.Model) -> dict[str, float]:
        return self._evaluated(model, self.watched, "train") if self.arm.train_examples else {}

    def _evaluated(self, model: keras.Model, examples: Any, split: str) -> dict[str, float]:
        fed = Arrays(examples, self.arm.test_batch)
        found = model.evaluate(fed, return_dict=True, verbose=0, callbacks=[InterruptCallback()])
        return {f"{split}_{name}": value for name, value in found.items()}

    def _probed(self, model: keras.Model, untrained: bool = False) -> dict[str, float]:
        if not self.arm.probes:
            return {}
        seen = probes.ProbeInput(model, self.batch, self.first, self.start, read(model), untrained)
        return {k: v for name in self.arm.probes for k, v in probes.PROBES[name](seen).items()}


def make_callbacks(
    run: Run,
    directory: Path,
    observer: EvaluationCallback,
    learning_rate: Callable[[int], float],
    telemetry: int | None,
    twin: Telemetry | None = None,
) -> list[keras.callbacks.Callback]:
    """Return the callbacks that set the rate, measure, and write what TensorBoard shows.

    ``twin`` writes it of another run with the same model.
    """
    first = [keras.callbacks.LearningRateScheduler(learning_rate), observer]
    if telemetry == 0:
        return first
    told = {"arm": run.arm_name, "seed": run.seed, "scale": run.scale, **flatten(run.arm)}
    return [
        *first,
        Telemetry(
            directory,
            observer.batch,
            every=telemetry or EVERY,
            hyperparameters=told,
            twin=twin,
        ),
    ]


class RandomStateCallback(keras.callbacks.Callback):
    """At a fit's first batch, put generators outside the model to their state in ``tensors``."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        self.tensors, self.restored = tensors, False

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if not self.restored:  # fit itself draws on its way here, for PyTorch's data loader
            restore_generator_state(self.tensors)
            self.restored = True


class CheckpointCallback(keras.callbacks.Callback):
    """After each epoch, hash the training's state and keep it on disk with the run's record."""

    def __init__(
        self, run: Run, directory: Path, begun: Checkpoint, enough: Callable[[Checkpoint], bool]
    ) -> None:
        super().__init__()
        self.run, self.directory, self.state, self.enough = run, directory, begun, enough
        self.marks: dict[int, str] = {}

    def fed(self, step: int, indices: NDArray[np.int64]) -> None:
        """Note which examples ``fit`` is given, maybe some steps before it trains on them."""
        self.marks[step] = batch_checksum(indices)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.clock = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.keep(epoch, read(self.model), logs or {}, time.perf_counter() - self.clock)
        self.model.stop_training = self.enough(self.state)

    def keep(
        self,
        epoch: int,
        tensors: Mapping[str, NDArray[Any]],
        logs: Mapping[str, float],
        seconds: float,
    ) -> None:
        """Keep what an epoch came to, after it: the state, then the record."""
        before, steps = self.state, self.run.arm.steps
        row = history_row((epoch + 1) * steps, logs)
        marks = (self.marks.pop(step) for step in range(epoch * steps, (epoch + 1) * steps))
        now = Checkpoint(
            owner=before.owner,
            interval=epoch + 1,
            initial=before.initial,
            tensors=tensors,
            rows=(*before.rows, row),
            chain=(*before.chain, link(before.chain[-1], tensors, row)),
            digests=(*before.digests, tensor_digests(tensors, "".join(marks))),
            seconds=before.seconds + seconds,
        )
        checkpoint.save(now, self.directory / "state")
        self.state = now  # not before: an interrupted save must not be told as done
        self.write("running")

    def end(self) -> Run:
        """Write the record of the run at its end, its own or the one that was asked for."""
        return self.write(
            "complete" if self.state.interval == self.run.arm.intervals else "partial"
        )

    def write(self, status: Status) -> Run:
        """Write the record of the run as it is now, and return it."""
        rows = self.state.rows
        self.run = replace(
            self.run,
            status=status,
            initial=self.state.initial,
            history={name: tuple(row[name] for row in rows) for name in (rows[0] if rows else ())},
            chain=self.state.chain,
            digests=self.state.digests,
            seconds=self.state.seconds,
        )
        run_record.save(self.run, self.directory)
        return self.run
