"""What is measured of a model beside the test split: the training split, and the probes."""

from __future__ import annotations

from typing import Any

import keras

from experiments.harness import data, interrupts, probes
from experiments.harness.data import Dataset
from experiments.harness.feeding import Arrays
from experiments.harness.spec import Run
from experiments.harness.tensors import read


class Heeding(keras.callbacks.Callback):
    """Before each batch, heed an interrupt."""

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        interrupts.check()

    def on_test_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        interrupts.check()


class Observer(keras.callbacks.Callback):
    """After each epoch, add to its logs what the arm wants measured beside the test split."""

    def __init__(self, run: Run, dataset: Dataset, model: keras.Model) -> None:
        super().__init__()
        self.arm, self.dataset = run.arm, dataset
        self.first = self.start = read(model) if run.arm.probes else {}
        begin = dataset.held_out(run.arm.held_out)
        self.watched = dataset.train(slice(begin, begin + run.arm.train_examples))
        self.batch = next(
            data.batches(dataset, run.seed, run.arm.batch_size, held_out=run.arm.held_out)
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
        found = model.evaluate(fed, return_dict=True, verbose=0, callbacks=[Heeding()])
        return {f"{split}_{name}": value for name, value in found.items()}

    def _probed(self, model: keras.Model, untrained: bool = False) -> dict[str, float]:
        if not self.arm.probes:
            return {}
        seen = probes.Seen(model, self.batch, self.first, self.start, read(model), untrained)
        return {k: v for name in self.arm.probes for k, v in probes.ALL[name](seen).items()}
