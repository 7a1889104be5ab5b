"""A step replayed alone leaves the same bits as in the undisturbed run."""

import keras
import numpy as np
import pytest

from experiments.harness.model.variables import read
from experiments.harness.spec import Run, RunSpec
from experiments.harness.storage import checkpoint
from experiments.harness.training import trainer
from experiments.harness.training.options import TrainOptions
from experiments.harness.training.stepper import Stepper
from tests.harness.training.test_trainer import DIGITS, FACES, plan_faces_run, plan_run
from tests.helpers.optimizer_runs import AVERAGED, COSINE


class StepRecorder(keras.callbacks.Callback):
    """Read all variables after every step of a fit."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[dict[str, np.ndarray]] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if keras.backend.backend() == "jax":  # whose fit holds the values outside the variables
            self.model.jax_state_sync()
        self.steps.append(read(self.model))


def train_recorded(
    spec: RunSpec, directory, dataset, monkeypatch
) -> tuple[dict[int, checkpoint.Checkpoint], list]:
    """Train ``spec``; return the checkpoint after each interval, the variables after each step."""
    recorder, checkpoints = StepRecorder(), {}
    save = checkpoint.save

    def save_and_record(state: checkpoint.Checkpoint, folder) -> None:
        checkpoints[state.interval] = state
        save(state, folder)

    monkeypatch.setattr(checkpoint, "save", save_and_record)
    directory.mkdir(exist_ok=True)
    options = TrainOptions(telemetry_every=0, callbacks=[recorder])
    trainer.train(Run(spec), directory, dataset, options)
    monkeypatch.undo()
    return checkpoints, recorder.steps


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return set(one) == set(other) and all(one[p].tobytes() == other[p].tobytes() for p in one)


ADAM = {"class_name": "Adam", "config": {"learning_rate": COSINE}}
RUNS = {
    "dropout, decayed rate, moving averages": (
        plan_run(schedule=[[1, 0.1]], intervals=2, **AVERAGED),
        DIGITS,
    ),
    "Keras's schedule, moments": (plan_run(schedule=[], optimizer=ADAM, intervals=2), DIGITS),
    "weighted samples": (plan_faces_run("as_documented", held_out=3, intervals=1), FACES),
}


@pytest.mark.parametrize("name", RUNS)
def test_every_step_leaves_the_bits_of_the_undisturbed_run(name, tmp_path, monkeypatch):
    spec, dataset = RUNS[name]
    checkpoints, after = train_recorded(spec, tmp_path, dataset, monkeypatch)
    assert len(after) == spec.arm.steps * spec.arm.intervals
    for interval in range(spec.arm.intervals):
        stepper = Stepper(spec, dataset, checkpoints[interval])
        for number in range(stepper.done + 1, stepper.end + 1):
            step = stepper.take()
            assert step.number == number
            assert same(step.after, after[number - 1]), f"step {number}"
        at_once = Stepper(spec, dataset, checkpoints[interval])
        at_once.advance(at_once.end)
        assert same(at_once.tensors(), after[at_once.end - 1])
