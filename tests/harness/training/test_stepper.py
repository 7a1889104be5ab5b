"""A step taken alone leaves the bits that it left in the undisturbed run."""

import keras
import numpy as np
import pytest

from experiments.harness.model.variables import read
from experiments.harness.spec import Run
from experiments.harness.storage import checkpoint
from experiments.harness.training import trainer
from experiments.harness.training.stepper import Stepper
from tests.harness.training.test_trainer import DIGITS, FACES, faced, planned


class Watcher(keras.callbacks.Callback):
    """Reads all variables after every step of a fit."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, np.ndarray]] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if keras.backend.backend() == "jax":  # whose fit keeps the values outside the variables
            self.model.jax_state_sync()
        self.seen.append(read(self.model))


def watched(
    run: Run, directory, dataset, monkeypatch
) -> tuple[dict[int, checkpoint.Checkpoint], list]:
    """Train ``run``; return the state after each interval and the variables after each step."""
    watcher, states = Watcher(), {}
    save, fit = checkpoint.save, keras.Model.fit

    def kept(found: checkpoint.Checkpoint, folder) -> None:
        states[found.interval] = found
        save(found, folder)

    def seen(model, *arguments, callbacks, **options):
        return fit(model, *arguments, callbacks=[watcher, *callbacks], **options)

    monkeypatch.setattr(checkpoint, "save", kept)
    monkeypatch.setattr(keras.Model, "fit", seen)
    directory.mkdir(exist_ok=True)
    trainer.train(run, directory, dataset, tell=[].append)
    monkeypatch.undo()
    return states, watcher.seen


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return set(one) == set(other) and all(one[p].tobytes() == other[p].tobytes() for p in one)


RUNS = {
    "dropout, decayed rate": (planned(schedule=[[1, 0.1]], intervals=2), DIGITS),
    "moments": (planned(optimizer="Adam", intervals=2), DIGITS),
    "weighted samples": (faced("as_documented", held_out=3, intervals=2), FACES),
}


@pytest.mark.parametrize("name", RUNS)
def test_every_step_leaves_the_bits_of_the_undisturbed_run(name, tmp_path, monkeypatch):
    run, dataset = RUNS[name]
    states, after = watched(run, tmp_path, dataset, monkeypatch)
    assert len(after) == run.arm.steps * run.arm.intervals
    for interval in range(run.arm.intervals):
        alone = Stepper(run, dataset, states[interval])
        for number in range(alone.done + 1, alone.end + 1):
            step = alone.take()
            assert step.number == number
            assert same(step.after, after[number - 1]), f"step {number}"
        at_once = Stepper(run, dataset, states[interval])
        at_once.advance(at_once.end)
        assert same(at_once.tensors(), after[at_once.end - 1])
