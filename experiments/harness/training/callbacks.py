"""The Keras callbacks of a training: interrupts, evaluation, checkpoints, random state."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from experiments.harness.data import order
from experiments.harness.data.dataset import Dataset
from experiments.harness.data.keras_input import evaluation_input
from experiments.harness.model import probes
from experiments.harness.model.build import LearningRate
from experiments.harness.model.variables import read, to_numpy
from experiments.harness.runtime import signals
from experiments.harness.runtime.backends import restore_generator_state
from experiments.harness.spec import Run, RunSpec, Status, UserError
from experiments.harness.spec.overrides import flatten
from experiments.harness.storage.checkpoint import Checkpoint
from experiments.harness.storage.fingerprint import batch_checksum
from experiments.harness.telemetry.callback import DEFAULT_EVERY, Telemetry
from experiments.harness.telemetry.metric_names import history_row
from experiments.harness.training.options import TrainOptions
from experiments.harness.training.run_writer import RunWriter
from experiments.harness.training.stopwatch import Elapsed, Stopwatch


class InterruptCallback(keras.callbacks.Callback):
    """Raise a pending ``KeyboardInterrupt`` before each batch."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        signals.raise_if_interrupted()

    def on_test_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        signals.raise_if_interrupted()


class EvaluationCallback(keras.callbacks.Callback):
    """After each epoch, add metrics of the training split and the arm's probes to the logs."""

    def __init__(self, spec: RunSpec, dataset: Dataset, model: keras.Model) -> None:
        super().__init__()
        self.arm, self.dataset = spec.arm, dataset
        self.first = self.start = read(model) if spec.arm.probes else {}
        begin = dataset.held_out_count(spec.arm.held_out)
        self.train_examples = dataset.train(slice(begin, begin + spec.arm.train_examples))
        self.first_batch = next(
            order.batches(dataset, spec.seed, spec.arm.batch_size, held_out=spec.arm.held_out)
        )

    def initial_metrics(self, model: keras.Model) -> dict[str, float]:
        """Return the metrics before the first step."""
        metrics = {}
        if self.arm.evaluate_first:
            test = self.dataset.test(slice(self.arm.test_examples))
            metrics = self._evaluate(model, test, "test") | self._evaluate_train(model)
        return metrics | self._probe(model, untrained=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.start = read(self.model) if self.arm.probes else {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            logs |= self._evaluate_train(self.model) | self._probe(self.model)

    def _evaluate_train(self, model: keras.Model) -> dict[str, float]:
        if not self.arm.train_examples:
            return {}
        return self._evaluate(model, self.train_examples, "train")

    def _evaluate(self, model: keras.Model, examples: Any, split: str) -> dict[str, float]:
        metrics = model.evaluate(
            evaluation_input(examples, self.arm.test_batch),
            return_dict=True,
            verbose=0,
            callbacks=[InterruptCallback()],
        )
        return {f"{split}_{name}": value for name, value in metrics.items()}

    def _probe(self, model: keras.Model, untrained: bool = False) -> dict[str, float]:
        if not self.arm.probes:
            return {}
        given = probes.ProbeInput(
            model, self.first_batch, self.first, self.start, read(model), untrained
        )
        return {k: v for name in self.arm.probes for k, v in probes.PROBES[name](given).items()}


class LearningRateCallback(keras.callbacks.Callback):
    """After each epoch, add the rate that the optimiser's own schedule has reached to the logs."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if logs is not None:
            rate = to_numpy(self.model.optimizer.learning_rate)
            logs["learning_rate"] = float(rate)


class RandomStateCallback(keras.callbacks.Callback):
    """At a fit's first batch, restore the generators outside of the model from ``tensors``."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        self.tensors, self.restored = tensors, False

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if not self.restored:  # fit draws from PyTorch's generator before its first batch
            restore_generator_state(self.tensors)
            self.restored = True


class CheckpointCallback(keras.callbacks.Callback):
    """After each epoch, hash the state of the training, and save it with the run's record."""

    def __init__(self, run: Run, directory: Path, first: Checkpoint, options: TrainOptions) -> None:
        super().__init__()
        self.writer, self.options = RunWriter(run, directory, first), options
        self.checksums: dict[int, str] = {}

    @property
    def run(self) -> Run:
        """The run as it was when its record was last written."""
        return self.writer.run

    @property
    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint."""
        return self.writer.checkpoint

    @property
    def should_stop(self) -> bool:
        """Whether the training is to stop at this checkpoint."""
        return self.options.should_stop(self.checkpoint)

    def record_batch(self, step: int, indices: NDArray[np.int64]) -> None:
        """Record which examples ``fit`` is given; it may train on them some steps later."""
        self.checksums[step] = batch_checksum(indices)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.stopwatch = Stopwatch()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.save(epoch, read(self.model), logs or {}, self.stopwatch.elapsed())
        past_deadline = time.monotonic() >= self.options.deadline
        self.model.stop_training = self.should_stop or past_deadline

    def save(
        self,
        epoch: int,
        tensors: Mapping[str, NDArray[Any]],
        logs: Mapping[str, float],
        elapsed: Elapsed,
    ) -> None:
        """Save the checkpoint after an epoch, then the record."""
        steps = self.run.spec.arm.steps
        self._check_steps(epoch, tensors)
        row = history_row((epoch + 1) * steps, logs)
        batches = (self.checksums.pop(step) for step in range(epoch * steps, (epoch + 1) * steps))
        self.writer.append(tensors, row, "".join(batches), elapsed)

    def _check_steps(self, epoch: int, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Raise ``UserError`` if the optimiser did not take every step of the interval."""
        counts = [int(value) for path, value in tensors.items() if path.endswith("/iteration")]
        steps = self.run.spec.arm.steps
        taken = max(counts, default=0) - epoch * steps
        if taken != steps:
            raise UserError(
                f"{self.writer.directory}: the optimizer took {taken} steps in interval "
                f"{epoch + 1}, not {steps}; something outside of the arm, such as a callback that "
                "sets stop_training, changed the training, so the interval is not saved"
            )

    def finish(self) -> Run:
        """Write the final record: complete at the arm's last interval, else partial."""
        done = self.checkpoint.interval == self.run.spec.arm.intervals
        return self.write_record("complete" if done else "partial")

    def write_record(self, status: Status) -> Run:
        """Write the record of the run as it is now, and return it."""
        return self.writer.write_record(status)


def make_callbacks(
    spec: RunSpec,
    directory: Path,
    evaluation: EvaluationCallback,
    learning_rate: LearningRate,
    options: TrainOptions,
    shared_with: Telemetry | None = None,
) -> list[keras.callbacks.Callback]:
    """Return the callbacks that set the learning rate, evaluate, and write TensorBoard events.

    ``learning_rate`` is that of ``build_for_run``, ``shared_with`` the telemetry of another run of
    the same model.
    """
    rate = (
        keras.callbacks.LearningRateScheduler(learning_rate)
        if learning_rate
        else LearningRateCallback()
    )
    first = [rate, evaluation]
    if options.telemetry_every == 0:
        return first
    telemetry = Telemetry(
        directory,
        evaluation.first_batch,
        every=options.telemetry_every or DEFAULT_EVERY,
        hyperparameters={
            "arm": spec.arm_name,
            "seed": spec.seed,
            "scale": spec.scale,
            **flatten(spec.arm),
        },
        shared_with=shared_with,
    )
    return [*first, telemetry]
