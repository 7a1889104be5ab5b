"""Training on the digits, with a small network and everything else as in a real run."""

import json
import signal
import time
from dataclasses import replace
from importlib.util import find_spec

import keras
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboardX import SummaryWriter

import zoo.layers  # noqa: F401  (all that a saved model needs)
from experiments.harness.data import faces, mnist, order
from experiments.harness.model import build
from experiments.harness.runtime import backends, signals, subprocesses
from experiments.harness.spec import History, Run, RunSpec, UserError
from experiments.harness.storage import checkpoint, fingerprint, run_directory, run_record
from experiments.harness.study import run_one
from experiments.harness.telemetry.layer_tags import layer_tags
from experiments.harness.training import callbacks
from experiments.harness.training.options import TrainOptions
from tests.helpers import corrupted_runs
from tests.helpers.environment import ENVIRONMENT
from tests.helpers.optimizer_runs import AVERAGED, COSINE
from tests.helpers.planning import plan_specs

DIGITS = mnist.load("digits")[0]


def plan_run(seed: int = 0, arm: str = "decayed_rate", **overrides) -> RunSpec:
    return corrupted_runs.plan_run(DIGITS, ENVIRONMENT, arm, seed, **overrides)


def train(spec: RunSpec, logdir, *, telemetry_every: int = 0, **options) -> Run:
    options = TrainOptions(telemetry_every=telemetry_every, **options)
    return run_one.train_or_load(spec, logdir, DIGITS, options)


def file_states(directory) -> dict:
    """Return the identity, size and time of the last write of each file."""
    stats = {path: path.stat() for path in directory.rglob("*")}
    return {path: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Run, object]:
    logdir = tmp_path_factory.mktemp("undisturbed")
    run = train(plan_run(schedule=[[2, 0.1]]), logdir, telemetry_every=1)
    return run, run_directory.directory_of(run.spec, logdir)


def test_a_run_leaves_its_record_and_history(undisturbed):
    run, directory = undisturbed
    assert run.status == "complete"
    assert len(run.chain) == 5
    record = json.loads((directory / "run.json").read_text())
    assert record["fingerprint"] == run.fingerprint
    assert record["dataset"]["stand_in"] is True
    assert record["packages"]["keras"] == keras.__version__
    assert run_record.load(directory) == run
    history = pd.read_csv(directory / "history.csv")
    first = ["step", "loss", "accuracy", "test_loss", "test_accuracy"]
    assert list(history.columns)[:5] == first
    assert list(history["step"]) == [3, 6, 9, 12]
    assert history["learning_rate"].tolist() == pytest.approx([4e-3] * 2 + [4e-4] * 2)


def test_each_interval_records_its_batches_and_the_digest_of_each_tensor(undisturbed):
    run, directory = undisturbed
    newest, _ = checkpoint.load_newest(directory / "state")
    assert run.digests == newest.digests
    last = {path: fingerprint.tensor_digest(tensor) for path, tensor in newest.tensors.items()}
    indices = [order.batch_positions(0, step, 8, len(DIGITS.x_train)) for step in range(9, 12)]
    assert run.digests[-1] == {"batches": "".join(map(fingerprint.batch_checksum, indices)), **last}


def test_past_the_deadline_each_call_trains_one_interval_to_the_same_bits(undisturbed, tmp_path):
    run, _ = undisturbed
    spec, past = plan_run(schedule=[[2, 0.1]]), time.monotonic()
    assert run_one.incomplete_runs([spec], tmp_path) == [spec]
    for interval in (1, 2):
        part = train(spec, tmp_path, deadline=past)
        assert (part.status, part.chain) == ("partial", run.chain[: interval + 1])
    assert run_one.incomplete_runs([spec, spec], tmp_path) == [spec]
    assert not run_one.incomplete_runs([spec], tmp_path, stop_after=2)
    whole = train(spec, tmp_path, deadline=past + 3600)
    assert (whole.status, whole.chain, whole.history) == ("complete", run.chain, run.history)
    assert not run_one.incomplete_runs([spec], tmp_path)


def test_a_run_from_before_digests_and_cpu_time_were_recorded_resumes(undisturbed, tmp_path):
    run, _ = undisturbed
    part = train(plan_run(schedule=[[2, 0.1]]), tmp_path, stop_after=2)
    directory = run_directory.directory_of(part.spec, tmp_path)
    (directory / "digests.csv").unlink()
    newest, _ = checkpoint.load_newest(directory / "state")
    older = replace(newest, digests=({}, {}, {}), cpu_seconds=None)
    checkpoint.save(older, directory / "state")
    again = train(plan_run(schedule=[[2, 0.1]]), tmp_path)
    assert again.chain == run.chain
    assert again.digests == ({}, {}, {}, *run.digests[3:])
    assert again.cpu_seconds is None


def test_the_saved_model_loads_without_the_harness(undisturbed):
    _, directory = undisturbed
    loaded = keras.saving.load_model(directory / "model.keras")
    newest, _ = checkpoint.load_newest(directory / "state")
    for variable in loaded.trainable_variables:
        np.testing.assert_array_equal(variable, newest.tensors[variable.path])


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
    newest, _ = checkpoint.load_newest(directory / "state")
    found = layer_tags(build.build_compiled(run.spec.arm))
    for tag, variable in found.variables.items():
        histograms = events.Histograms(tag)
        assert [event.step for event in histograms] == [0, 3, 6, 9, 12]
        last = histograms[-1].histogram_value
        assert sum(last.bucket) == last.num == newest.tensors[variable.path].size
        assert last.sum == pytest.approx(newest.tensors[variable.path].sum(dtype="float64"))
        assert [event.step for event in events.Histograms(f"{tag}/gradient")][-1] == 12
        assert [event.step for event in events.Scalars(f"{tag}/relative_update")][-1] == 12
    for tag in found.outputs:
        assert [event.step for event in events.Histograms(tag)] == [0, 3, 6, 9, 12]


@pytest.mark.parametrize("every", [0, 3])
def test_telemetry_at_any_cadence_or_none_changes_no_bit(undisturbed, tmp_path, every):
    run, _ = undisturbed
    again = train(plan_run(schedule=[[2, 0.1]]), tmp_path, telemetry_every=every)
    assert again.chain == run.chain
    written = [*run_directory.directory_of(run.spec, tmp_path).glob("events.*")]
    assert bool(written) == bool(every)


def test_trained_again_it_has_the_same_fingerprints(undisturbed, tmp_path):
    run, _ = undisturbed
    keras.random.normal((3,))  # earlier draws in this process must not matter
    again = train(plan_run(schedule=[[2, 0.1]]), tmp_path)
    assert again.chain == run.chain
    assert train(plan_run(seed=1), tmp_path).fingerprint != run.fingerprint


@pytest.mark.parametrize("stops", [(1,), (2, 3)])
def test_stopped_and_resumed_it_ends_with_the_same_bits(undisturbed, tmp_path, stops):
    run, directory = undisturbed
    spent = [0.0]
    for stop in stops:
        part = train(plan_run(schedule=[[2, 0.1]]), tmp_path, stop_after=stop)
        assert (part.status, part.intervals) == ("partial", stop)
        assert part.chain == run.chain[: stop + 1]
        spent.append(part.cpu_seconds)
    whole = train(plan_run(schedule=[[2, 0.1]]), tmp_path)
    assert whole.chain == run.chain
    assert whole.history == run.history
    assert spent == sorted({*spent})  # CPU time adds up
    assert spent[-1] < whole.cpu_seconds == run_one.load_existing(whole.spec, tmp_path).cpu_seconds
    elsewhere = run_directory.directory_of(whole.spec, tmp_path)
    assert (elsewhere / "history.csv").read_text() == (directory / "history.csv").read_text()


def test_killed_between_telemetry_and_checkpoint_no_step_is_plotted_twice(undisturbed, tmp_path):
    _, directory = undisturbed
    spec = plan_run(schedule=[[2, 0.1]])
    part = train(spec, tmp_path, telemetry_every=1, stop_after=2)
    elsewhere = run_directory.directory_of(part.spec, tmp_path)
    with SummaryWriter(str(elsewhere)) as writer:  # the third interval, never saved
        writer.add_scalar("loss/train", -1.0, 9)
    time.sleep(1.1)  # TensorBoard sorts event files by the second of their names
    train(spec, tmp_path, telemetry_every=1)
    values = [(event.step, event.value) for event in scalars(elsewhere, "loss/train")]
    assert values == [(event.step, event.value) for event in scalars(directory, "loss/train")]


@pytest.mark.parametrize(
    ("name", "content"),
    [("run.json", "{"), ("digests.csv", 'interval,step\n0,"' + "1" * 200_000)],
)
def test_a_damaged_record_is_written_again_from_the_checkpoint(
    undisturbed, tmp_path, caplog, name, content
):
    run, _ = undisturbed
    part = train(plan_run(schedule=[[2, 0.1]]), tmp_path, stop_after=2)
    directory = run_directory.directory_of(part.spec, tmp_path)
    (directory / name).write_text(content)
    assert train(plan_run(schedule=[[2, 0.1]]), tmp_path).chain == run.chain
    assert "is damaged" in caplog.messages[0]
    for damage in ("3", "[" * 100_000, '{"format": 1}'):
        (directory / "run.json").write_text(damage)
        assert run_record.load(directory) is None
    (directory / "history.csv").write_text("step,loss\n")
    for path in (directory / "state").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="there is no checkpoint; --fresh"):
        train(plan_run(schedule=[[2, 0.1]]), tmp_path)


def test_a_row_that_the_record_does_not_count_yet_is_not_damage(undisturbed, tmp_path, caplog):
    run, directory = undisturbed
    for intervals in (0, 1):
        run_record.save(replace(run, history=History(), chain=run.chain[: intervals + 1]), tmp_path)
        (tmp_path / "history.csv").write_bytes((directory / "history.csv").read_bytes())
        found = run_record.load(tmp_path)
        assert (found.intervals, caplog.messages) == (intervals, [])


def test_a_damaged_checkpoint_costs_an_interval_and_no_bit(undisturbed, tmp_path, caplog):
    run, _ = undisturbed
    part = train(plan_run(schedule=[[2, 0.1]]), tmp_path, stop_after=3)
    newest = run_directory.directory_of(part.spec, tmp_path) / "state" / "000003"
    newest.write_bytes(newest.read_bytes()[:-1])
    whole = train(plan_run(schedule=[[2, 0.1]]), tmp_path)
    assert whole.chain == run.chain
    assert "000003 is damaged" in caplog.text


def test_an_interrupted_run_is_marked_and_resumes(undisturbed, tmp_path, monkeypatch):
    run, _ = undisturbed

    def interrupt(callback, *_, **__):
        if callback.checkpoint.interval == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        callbacks.CheckpointCallback, "on_train_batch_end", interrupt, raising=False
    )
    with pytest.raises(KeyboardInterrupt):
        train(plan_run(schedule=[[2, 0.1]]), tmp_path)
    monkeypatch.undo()
    found = run_record.load(run_directory.directory_of(run.spec, tmp_path))
    assert (found.status, found.intervals) == ("interrupted", 2)
    assert train(plan_run(schedule=[[2, 0.1]]), tmp_path).chain == run.chain


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("sent", signals.SIGNALS)
def test_an_interrupt_that_python_drops_stops_the_training_too(
    undisturbed, tmp_path, monkeypatch, sent
):
    run, _ = undisturbed

    class SignalInDel:
        def __del__(self):
            signal.raise_signal(sent)

    def interrupt(callback, *_, **__):
        if callback.checkpoint.interval == 2:
            SignalInDel()

    monkeypatch.setattr(
        callbacks.CheckpointCallback, "on_train_batch_end", interrupt, raising=False
    )
    with pytest.raises(KeyboardInterrupt), signals.handle_signals():
        train(plan_run(schedule=[[2, 0.1]]), tmp_path)
    monkeypatch.undo()
    found = run_record.load(run_directory.directory_of(run.spec, tmp_path))
    assert (found.status, found.intervals) == ("interrupted", 2)
    assert train(plan_run(schedule=[[2, 0.1]]), tmp_path).chain == run.chain


@pytest.mark.skipif(ENVIRONMENT["backend"] != "tensorflow", reason="others compile it otherwise")
def test_a_training_step_is_traced_once(tmp_path, monkeypatch):
    step, traces = keras.Model.train_step, []

    def traced_step(*arguments):
        traces.append(arguments)
        return step(*arguments)

    monkeypatch.setattr(keras.Model, "train_step", traced_step)
    train(plan_run(intervals=1), tmp_path)
    assert len(traces) == 1


def test_a_complete_run_is_loaded_not_repeated(tmp_path, caplog):
    caplog.set_level("INFO", "rerun_zoo")
    spec = plan_run(intervals=1)
    first = train(spec, tmp_path)
    caplog.clear()
    assert train(spec, tmp_path) == first
    assert caplog.messages[0].startswith("already trained: ")
    assert caplog.messages[0].endswith("; --fresh retrains it")


def test_a_directory_of_another_run_is_refused_and_left_alone(tmp_path):
    spec = plan_run(intervals=1)
    train(spec, tmp_path)
    directory = run_directory.directory_of(spec, tmp_path)
    before = file_states(directory)
    others = {
        "backend": replace(spec, environment=ENVIRONMENT | {"backend": "abacus"}),
        "dataset": replace(spec, dataset=DIGITS.identity() | {"sha256": "other"}),
        "arm.steps": replace(spec, arm=replace(spec.arm, steps=5)),
    }
    for field, other in others.items():
        with pytest.raises(UserError, match=field):
            train(other, tmp_path)
    assert file_states(directory) == before


def test_clear_deletes_only_the_runs_own_files(tmp_path):
    spec = plan_run(intervals=1)
    directory = run_directory.directory_of(spec, tmp_path)
    train(spec, tmp_path, telemetry_every=1)
    (directory / "notes.txt").write_text("mine")
    run_directory.clear(spec, directory)
    assert [path.name for path in directory.iterdir() if path.name != ".lock"] == ["notes.txt"]


def test_an_interrupt_within_a_save_leaves_a_record_of_what_is_on_disk(tmp_path, monkeypatch):
    def interrupt(state, folder):
        if state.interval == 3:
            raise KeyboardInterrupt
        save(state, folder)

    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", interrupt)
    spec = plan_run()
    with pytest.raises(KeyboardInterrupt):
        train(spec, tmp_path)
    directory = run_directory.directory_of(spec, tmp_path)
    assert run_record.read(directory).intervals == 2
    assert [*checkpoint.saved(directory / "state")] == [0, 1, 2]


def test_nan_is_trained_through_counted_and_compared(tmp_path):
    overrides = {"optimizer.learning_rate": 1e9, "intervals": 2}
    run = train(plan_run(arm="fixed_rate", **overrides), tmp_path / "a")
    assert np.isnan(run.history["loss"]).all()
    zeros = (DIGITS.y_test[:20] == 0).mean()
    assert run.history["test_accuracy"][-1] == pytest.approx(zeros)
    assert train(plan_run(arm="fixed_rate", **overrides), tmp_path / "b").chain == run.chain


@pytest.mark.parametrize(
    "overrides",
    [
        {"network": "alexnot"},
        {"network.widht": 1.0},
        {"network.widths": [0, 2, 8]},
        {"optimizer.learning_rat": 1.0},
        {"loss": "no_such_loss"},
        {"network.kernel_initializer": "no_such_initializer"},
        {"loss": "categorical_crossentropy"},
        {"probes": ["no_such_probe"]},
        {"metrics": ["no_such_metric"]},
        {"metrics": ["F1Score"]},
        {"frozen": ["weights"]},
    ],
)
def test_an_arm_that_keras_rejects_is_a_user_error(tmp_path, overrides):
    with pytest.raises(UserError):
        train(plan_run(**overrides), tmp_path)


FACES = faces._make_dataset("frames", faces.draw(0, 64), faces.draw(1, 16))
FEW = {"network.width": 1 / 16, "batch_size": 8, "steps": 2, "intervals": 4, "test_examples": 8}


def plan_faces_run(arm: str, **overrides) -> RunSpec:
    overrides = FEW | overrides
    (spec,) = plan_specs("weights_or_biases", [arm], [0], overrides, ENVIRONMENT, FACES)
    return spec


def train_faces(spec: RunSpec, logdir, **options) -> Run:
    return run_one.train_or_load(spec, logdir, FACES, TrainOptions(telemetry_every=0, **options))


def test_probes_and_evaluations_are_the_same_after_a_stop(tmp_path):
    spec = plan_faces_run("as_documented", train_examples=8, held_out=3)
    whole = train_faces(spec, tmp_path / "a")
    train_faces(spec, tmp_path / "b", stop_after=2)
    again = train_faces(spec, tmp_path / "b")
    assert again.chain == whole.chain
    assert (again.history, again.initial) == (whole.history, whole.initial)
    assert {"test_loss", "train_loss", "conv1_kernel_moved"} <= set(whole.initial)
    assert whole.initial["conv1_kernel_moved"] == 0 < whole.history["conv1_kernel_moved"][0]
    assert "train_loss" in whole.history


@pytest.mark.parametrize(
    ("arm", "frozen", "trained"),
    [("weights_frozen", "kernel", "bias"), ("biases_frozen", "bias", "kernel")],
)
def test_frozen_variables_keep_their_initial_values(tmp_path, arm, frozen, trained):
    run = train_faces(plan_faces_run(arm, intervals=1, probes=["movement"]), tmp_path)
    assert run.history[f"{frozen}_update"][-1] == run.history[f"{frozen}_drift"][-1] == 0
    assert run.history[f"{trained}_update"][-1] > 0


def exported(spec: RunSpec, logdir) -> list[bytes]:
    path = run_directory.directory_of(spec, logdir) / "model.keras"
    return [values.tobytes() for values in keras.saving.load_model(path).get_weights()]


@pytest.mark.parametrize(
    "overrides", [AVERAGED, AVERAGED | {"optimizer.ema_overwrite_frequency": 2}, {}]
)
def test_the_exported_model_is_a_function_of_the_last_checkpoint(tmp_path, overrides):
    class Spoil(keras.callbacks.Callback):
        def on_train_end(self, logs: dict[str, float] | None = None) -> None:
            kernel = self.model.trainable_variables[0]
            kernel.assign(np.zeros(kernel.shape))

    spec = plan_run(intervals=2, **overrides)
    whole = train(spec, tmp_path / "a", telemetry_every=1)
    train(spec, tmp_path / "b", callbacks=[Spoil()])
    directory = run_directory.directory_of(spec, tmp_path / "b")
    record = run_record.load(directory)
    run_record.save(replace(record, status="running"), directory)  # as killed after the last state
    (directory / "model.keras").unlink()
    again = train(spec, tmp_path / "b")
    assert (again.status, again.chain) == (whole.status, whole.chain)
    assert exported(spec, tmp_path / "a") == exported(spec, tmp_path / "b")
    newest, _ = checkpoint.load_newest(directory / "state")
    model, _ = build.build_for_run(spec, DIGITS)
    weights = [newest.tensors[variable.path].tobytes() for variable in model.weights]
    assert exported(spec, tmp_path / "a") == weights
    events = EventAccumulator(
        str(run_directory.directory_of(spec, tmp_path / "a")), size_guidance={"histograms": 0}
    )
    events.Reload()
    kernel = newest.tensors[model.trainable_variables[0].path]
    assert events.Histograms("conv1/kernel")[-1].histogram_value.sum == pytest.approx(
        kernel.sum(dtype="float64")
    )


def test_a_keras_schedule_sets_the_rate_and_is_in_the_record(tmp_path):
    overrides = {"optimizer.learning_rate": COSINE, "schedule": []}
    run = train(plan_run(**overrides), tmp_path / "a", telemetry_every=1)
    rates = 4e-3 * (1 + np.cos(np.pi * np.array([3, 6, 9, 12]) / 12)) / 2
    assert run.history["learning_rate"] == pytest.approx(rates, abs=1e-9)
    directory = run_directory.directory_of(run.spec, tmp_path / "a")
    assert [event.value for event in scalars(directory, "learning_rate")] == pytest.approx(
        rates, abs=1e-9
    )
    assert run_record.read(directory).spec.arm.optimizer["config"]["learning_rate"] == COSINE
    train(plan_run(**overrides), tmp_path / "b", stop_after=2)
    assert train(plan_run(**overrides), tmp_path / "b").chain == run.chain


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend", [name for name in backends.PACKAGES if name != "tensorflow" and find_spec(name)]
)
def test_schedules_and_averages_repeat_on_the_other_backends(tmp_path, backend):
    found = subprocesses.call(
        "tests.helpers.optimizer_runs:train_whole_stopped_and_replayed",
        {"folder": str(tmp_path)},
        backend=backend,
        start={},
    )
    rates = 4e-3 * (1 + np.cos(np.pi * np.array([3, 6, 9, 12]) / 12)) / 2
    assert found["rates"] == pytest.approx(rates, abs=1e-9)
    assert found["chains"][0] == found["chains"][1]
    assert found["differing"] == []
    assert found["exported"]


def test_an_arm_has_a_keras_schedule_or_its_own(tmp_path):
    with pytest.raises(UserError, match=r"must be empty: --set schedule=\[\]"):
        plan_run(**{"optimizer.learning_rate": COSINE, "schedule": [[2, 0.1]]})
    spec = plan_run(**{"optimizer.learning_rate": COSINE, "schedule": []})
    with pytest.raises(UserError, match="must be empty"):
        train(replace(spec, arm=replace(spec.arm, schedule=((2, 0.1),))), tmp_path)
    unknown = COSINE | {"class_name": "CosinDecay"}
    with pytest.raises(UserError, match="cannot be built"):
        train(plan_run(**{"optimizer.learning_rate": unknown, "schedule": []}), tmp_path)
