"""Training on the digits, with a network small enough for a test and everything else as always."""

import json
import signal
import time
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboardX import SummaryWriter

import zoo.layers  # noqa: F401  (all that a saved model needs)
from experiments import catalog
from experiments.harness.data import mnist, order, sources
from experiments.harness.model import build
from experiments.harness.runtime import signals
from experiments.harness.spec import Run, UserError
from experiments.harness.storage import checkpoint, fingerprint, run_directory, run_record
from experiments.harness.study import plan, run_one
from experiments.harness.telemetry.layer_tags import layer_tags
from experiments.harness.training import callbacks
from tests.helpers import corrupted_runs
from tests.helpers.environment import ENVIRONMENT

DIGITS = mnist.load("digits")[0]


def planned(seed: int = 0, arm: str = "decayed_rate", **changes) -> Run:
    return corrupted_runs.planned(DIGITS, ENVIRONMENT, arm, seed, **changes)


def carry_out(run: Run, logdir, **options) -> Run:
    return run_one.train_or_load(run, logdir, DIGITS, **options)


def as_left(directory) -> dict:
    """Each file, and when it was last written. Not when it was last read: a record is read."""
    told = {path: path.stat() for path in directory.rglob("*")}
    return {path: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in told.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Run, object]:
    logdir = tmp_path_factory.mktemp("undisturbed")
    run = carry_out(planned(schedule=[[2, 0.1]]), logdir, telemetry=1)
    return run, run_directory.directory_of(run, logdir)


def test_a_run_leaves_all_that_the_design_says(undisturbed):
    run, directory = undisturbed
    assert run.status == "complete"
    assert len(run.chain) == 5
    told = json.loads((directory / "run.json").read_text())
    assert told["fingerprint"] == run.fingerprint
    assert told["dataset"]["stand_in"] is True
    assert told["packages"]["keras"] == keras.__version__
    assert run_record.load(directory) == run
    history = pd.read_csv(directory / "history.csv")
    first = ["step", "loss", "accuracy", "test_loss", "test_accuracy"]
    assert list(history.columns)[:5] == first
    assert list(history["step"]) == [3, 6, 9, 12]
    assert history["learning_rate"].tolist() == pytest.approx([4e-3] * 2 + [4e-4] * 2)


def test_each_interval_tells_its_batches_and_the_digest_of_each_tensor(undisturbed):
    run, directory = undisturbed
    kept, _ = checkpoint.load_newest(directory / "state")
    assert run.digests == kept.digests
    last = {path: fingerprint.tensor_digest(tensor) for path, tensor in kept.tensors.items()}
    indices = [order.batch_positions(0, step, 8, len(DIGITS.x_train)) for step in range(9, 12)]
    assert run.digests[-1] == {"batches": "".join(map(fingerprint.batch_checksum, indices)), **last}


def test_a_run_that_ends_in_time_goes_on_to_the_same_bits_an_interval_at_least(
    undisturbed, tmp_path
):
    run, _ = undisturbed
    wanted, over = planned(schedule=[[2, 0.1]]), time.monotonic()
    assert carry_out(wanted, tmp_path, deadline=over) == wanted
    assert not any(tmp_path.iterdir())
    assert run_one.incomplete_runs([wanted], tmp_path) == [
        run_directory.directory_of(wanted, tmp_path)
    ]
    for interval in (1, 2):
        part = carry_out(wanted, tmp_path, deadline=over, begin=True)
        assert (part.status, part.chain) == ("partial", run.chain[: interval + 1])
    assert carry_out(wanted, tmp_path, deadline=over).chain == part.chain
    assert run_one.incomplete_runs([wanted], tmp_path)
    assert not run_one.incomplete_runs([wanted], tmp_path, intervals=2)
    whole = carry_out(wanted, tmp_path, deadline=over + 3600)
    assert (whole.status, whole.chain, whole.history) == ("complete", run.chain, run.history)
    assert not run_one.incomplete_runs([wanted], tmp_path)


def test_a_run_of_before_the_digests_goes_on(undisturbed, tmp_path):
    run, _ = undisturbed
    part = carry_out(planned(schedule=[[2, 0.1]]), tmp_path, intervals=2)
    directory = run_directory.directory_of(part, tmp_path)
    (directory / "digests.csv").unlink()
    newest, _ = checkpoint.load_newest(directory / "state")
    checkpoint.save(replace(newest, digests=({}, {}, {})), directory / "state")
    again = carry_out(planned(schedule=[[2, 0.1]]), tmp_path)
    assert again.chain == run.chain
    assert again.digests == ({}, {}, {}, *run.digests[3:])


def test_the_saved_model_loads_without_the_harness_and_is_the_one_trained(undisturbed):
    _, directory = undisturbed
    loaded = keras.saving.load_model(directory / "model.keras")
    kept, _ = checkpoint.load_newest(directory / "state")
    for variable in loaded.trainable_variables:
        np.testing.assert_array_equal(variable, kept.tensors[variable.path])


def scalars(directory, tag: str) -> list:
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    events.Reload()
    return events.Scalars(tag)


def test_tensorboard_reads_scalars_and_a_histogram_of_every_tensor(undisturbed):
    run, directory = undisturbed
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    steps = [event.step for event in events.Scalars("accuracy/test")]
    assert steps == [3, 6, 9, 12]
    values = [event.value for event in events.Scalars("loss/train")]
    assert values == pytest.approx(run.history["loss"])
    kept, _ = checkpoint.load_newest(directory / "state")
    found = layer_tags(build.build_compiled(run.arm))
    for tag, variable in found.variables.items():
        histograms = events.Histograms(tag)
        assert [event.step for event in histograms] == [0, 3, 6, 9, 12]
        last = histograms[-1].histogram_value
        assert sum(last.bucket) == last.num == kept.tensors[variable.path].size
        assert last.sum == pytest.approx(kept.tensors[variable.path].sum(dtype="float64"))
        assert [event.step for event in events.Histograms(f"{tag}/gradient")][-1] == 12
        assert [event.step for event in events.Scalars(f"{tag}/relative_update")][-1] == 12
    for tag in found.outputs:
        assert [event.step for event in events.Histograms(tag)] == [0, 3, 6, 9, 12]


@pytest.mark.parametrize("every", [0, 3])
def test_telemetry_at_any_cadence_or_none_changes_no_bit(undisturbed, tmp_path, every):
    run, _ = undisturbed
    again = carry_out(planned(schedule=[[2, 0.1]]), tmp_path, telemetry=every)
    assert again.chain == run.chain
    written = [*run_directory.directory_of(run, tmp_path).glob("events.*")]
    assert bool(written) == bool(every)


def test_repeated_elsewhere_it_has_the_same_fingerprints(undisturbed, tmp_path):
    run, _ = undisturbed
    keras.random.normal((3,))  # what was drawn before in this process must not matter
    again = carry_out(planned(schedule=[[2, 0.1]]), tmp_path)
    assert again.chain == run.chain
    assert carry_out(planned(seed=1), tmp_path).fingerprint != run.fingerprint


@pytest.mark.parametrize("stops", [(1,), (2, 3)])
def test_stopped_and_continued_it_ends_in_the_same_bits(undisturbed, tmp_path, stops):
    run, directory = undisturbed
    for stop in stops:
        part = carry_out(planned(schedule=[[2, 0.1]]), tmp_path, intervals=stop)
        assert (part.status, part.intervals) == ("partial", stop)
        assert part.chain == run.chain[: stop + 1]
    whole = carry_out(planned(schedule=[[2, 0.1]]), tmp_path)
    assert whole.chain == run.chain
    assert whole.history == run.history
    elsewhere = run_directory.directory_of(whole, tmp_path)
    assert (elsewhere / "history.csv").read_text() == (directory / "history.csv").read_text()


def test_killed_between_telemetry_and_state_the_axis_has_no_point_twice(undisturbed, tmp_path):
    _, directory = undisturbed
    part = carry_out(planned(schedule=[[2, 0.1]]), tmp_path, intervals=2)
    elsewhere = run_directory.directory_of(part, tmp_path)
    with SummaryWriter(str(elsewhere)) as writer:  # the third interval, never kept
        writer.add_scalar("loss/train", -1.0, 9)
    time.sleep(1.1)  # TensorBoard sorts event files by the second of their names
    carry_out(planned(schedule=[[2, 0.1]]), tmp_path)
    values = [(event.step, event.value) for event in scalars(elsewhere, "loss/train")]
    assert values == [(event.step, event.value) for event in scalars(directory, "loss/train")]


@pytest.mark.parametrize(
    ("name", "content"),
    [("run.json", "{"), ("digests.csv", 'interval,step\n0,"' + "1" * 200_000)],
)
def test_a_damaged_record_is_written_again_from_the_state(undisturbed, tmp_path, name, content):
    run, _ = undisturbed
    part = carry_out(planned(schedule=[[2, 0.1]]), tmp_path, intervals=2)
    directory = run_directory.directory_of(part, tmp_path)
    (directory / name).write_text(content)
    told = []
    assert carry_out(planned(schedule=[[2, 0.1]]), tmp_path, tell=told.append).chain == run.chain
    assert "is damaged" in told[0]
    for damage in ("3", "[" * 100_000, '{"format": 1}'):
        (directory / "run.json").write_text(damage)
        assert run_record.load(directory, told.append) is None
    (directory / "history.csv").write_text("step,loss\n")
    for kept in (directory / "state").iterdir():
        kept.unlink()
    with pytest.raises(UserError, match="there is no state; --fresh"):
        carry_out(planned(schedule=[[2, 0.1]]), tmp_path)


def test_a_row_that_the_record_does_not_tell_of_yet_is_no_damage(undisturbed, tmp_path):
    run, directory = undisturbed
    for intervals in (0, 1):
        run_record.save(replace(run, history={}, chain=run.chain[: intervals + 1]), tmp_path)
        (tmp_path / "history.csv").write_bytes((directory / "history.csv").read_bytes())
        told = []
        found = run_record.load(tmp_path, told.append)
        assert (found.intervals, told) == (intervals, [])


def test_a_damaged_state_costs_an_interval_and_no_bit(undisturbed, tmp_path):
    run, _ = undisturbed
    part = carry_out(planned(schedule=[[2, 0.1]]), tmp_path, intervals=3)
    newest = run_directory.directory_of(part, tmp_path) / "state" / "000003"
    newest.write_bytes(newest.read_bytes()[:-1])
    told = []
    whole = carry_out(planned(schedule=[[2, 0.1]]), tmp_path, tell=told.append)
    assert whole.chain == run.chain
    assert any("000003 is damaged" in line for line in told)


def test_an_interrupted_run_says_so_and_goes_on(undisturbed, tmp_path, monkeypatch):
    run, _ = undisturbed

    def interrupt(keeper, *_, **__):
        if keeper.state.interval == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        callbacks.CheckpointCallback, "on_train_batch_end", interrupt, raising=False
    )
    with pytest.raises(KeyboardInterrupt):
        carry_out(planned(schedule=[[2, 0.1]]), tmp_path)
    monkeypatch.undo()
    found = run_record.load(run_directory.directory_of(run, tmp_path))
    assert (found.status, found.intervals) == ("interrupted", 2)
    assert carry_out(planned(schedule=[[2, 0.1]]), tmp_path).chain == run.chain


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("sent", signals.SIGNALS)
def test_an_interrupt_that_python_drops_stops_the_training_too(
    undisturbed, tmp_path, monkeypatch, sent
):
    run, _ = undisturbed

    class Deaf:
        def __del__(self):
            signal.raise_signal(sent)

    def interrupt(keeper, *_, **__):
        if keeper.state.interval == 2:
            Deaf()

    monkeypatch.setattr(
        callbacks.CheckpointCallback, "on_train_batch_end", interrupt, raising=False
    )
    with pytest.raises(KeyboardInterrupt), signals.handle_signals():
        carry_out(planned(schedule=[[2, 0.1]]), tmp_path)
    monkeypatch.undo()
    found = run_record.load(run_directory.directory_of(run, tmp_path))
    assert (found.status, found.intervals) == ("interrupted", 2)
    assert carry_out(planned(schedule=[[2, 0.1]]), tmp_path).chain == run.chain


def test_a_complete_run_is_shown_not_repeated(tmp_path):
    run = planned(intervals=1)
    first = carry_out(run, tmp_path)
    told = []
    assert carry_out(run, tmp_path, tell=told.append) == first
    assert "holds this run" in told[0]


def test_a_directory_of_another_run_is_refused_and_left_alone(tmp_path):
    run = planned(intervals=1)
    carry_out(run, tmp_path)
    directory = run_directory.directory_of(run, tmp_path)
    before = as_left(directory)
    others = {
        "backend": replace(run, environment=ENVIRONMENT | {"backend": "abacus"}),
        "dataset": replace(run, dataset=DIGITS.identity() | {"sha256": "other"}),
        "arm.steps": replace(run, arm=replace(run.arm, steps=5)),
    }
    for words, other in others.items():
        with pytest.raises(UserError, match=words):
            carry_out(other, tmp_path)
    assert as_left(directory) == before


def test_fresh_deletes_only_what_a_run_leaves(tmp_path):
    run = planned(intervals=1)
    directory = run_directory.directory_of(run, tmp_path)
    carry_out(run, tmp_path)
    (directory / "notes.txt").write_text("mine")
    run_directory.clear(run, directory)
    assert [path.name for path in directory.iterdir() if path.name != ".lock"] == ["notes.txt"]


def test_an_interrupt_within_a_save_leaves_a_record_of_what_is_on_disk(tmp_path, monkeypatch):
    def interrupted(now, folder):
        if now.interval == 3:
            raise KeyboardInterrupt
        save(now, folder)

    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", interrupted)
    run = planned()
    with pytest.raises(KeyboardInterrupt):
        carry_out(run, tmp_path)
    directory = run_directory.directory_of(run, tmp_path)
    assert run_record.read(directory).intervals == 2
    assert [*checkpoint.saved(directory / "state")] == [0, 1, 2]


def test_nan_is_trained_through_counted_and_compared(tmp_path):
    changes = {"optimizer.learning_rate": 1e9, "intervals": 2}
    run = carry_out(planned(arm="fixed_rate", **changes), tmp_path / "a")
    assert np.isnan(run.history["loss"]).all()
    zeros = (DIGITS.y_test[:20] == 0).mean()
    assert run.history["test_accuracy"][-1] == pytest.approx(zeros)
    assert carry_out(planned(arm="fixed_rate", **changes), tmp_path / "b").chain == run.chain


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "alexnot"},
        {"network.widht": 1.0},
        {"network.width": -1.0},
        {"optimizer.learning_rat": 1.0},
        {"loss": "no_such_loss"},
        {"network.kernel_initializer": "no_such_initializer"},
        {"loss": "categorical_crossentropy"},
        {"probes": ["no_such_probe"]},
        {"metrics": ["no_such_metric"]},
        {"frozen": ["weights"]},
    ],
)
def test_an_arm_that_keras_does_not_take_is_a_users_error(tmp_path, changes):
    with pytest.raises(UserError):
        carry_out(planned(**changes), tmp_path)


FACES = sources.load("frames", "frames")[0]
FEW = {"network.width": 1 / 16, "batch_size": 8, "steps": 2, "intervals": 4, "test_examples": 8}


def faced(arm: str, **changes) -> Run:
    (run,) = plan.plan_runs(
        catalog.load("weights_or_biases"),
        "mini",
        arms=[arm],
        seeds=[0],
        changes=FEW | changes,
        data={"frames": FACES.identity()},
        environment=ENVIRONMENT,
    )
    return run


def test_what_is_probed_and_evaluated_is_the_same_after_a_stop(tmp_path):
    options = {"train_examples": 8, "held_out": 3}
    whole = run_one.train_or_load(faced("as_documented", **options), tmp_path / "a", FACES)
    run_one.train_or_load(faced("as_documented", **options), tmp_path / "b", FACES, intervals=2)
    again = run_one.train_or_load(faced("as_documented", **options), tmp_path / "b", FACES)
    assert again.chain == whole.chain
    assert (again.history, again.initial) == (whole.history, whole.initial)
    assert {"test_loss", "train_loss", "kernel_moved"} <= set(whole.initial)
    assert whole.initial["kernel_moved"] == 0 < whole.history["kernel_moved"][0]
    assert "train_loss" in whole.history


@pytest.mark.parametrize(
    ("arm", "frozen", "trained"),
    [("weights_frozen", "kernel", "bias"), ("biases_frozen", "bias", "kernel")],
)
def test_frozen_variables_keep_their_initial_values(tmp_path, arm, frozen, trained):
    run = run_one.train_or_load(faced(arm, intervals=1), tmp_path, FACES)
    assert run.history[f"{frozen}_update"][-1] == run.history[f"{frozen}_drift"][-1] == 0
    assert run.history[f"{trained}_update"][-1] > 0
