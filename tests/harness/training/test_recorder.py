"""A user's own fit: recorded, interrupted anywhere, resumed to the same bits, extended, refused."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import experiments
from experiments import replay, report, verify
from experiments.harness.model.variables import to_numpy
from experiments.harness.storage import checkpoint, run_record
from experiments.harness.training.scripts import sessions
from tests import script_campaign
from tests.helpers import user_scripts
from tests.helpers.user_scripts import Killer, train

ROOT = Path(__file__).parents[3]
X, Y = user_scripts.X, user_scripts.Y


@pytest.fixture(autouse=True)
def new_process(monkeypatch):
    """Let each test begin as a new process does."""
    for name in ("_begun", "_finished"):
        monkeypatch.setattr(sessions, name, set())


def forget() -> None:
    """Go on as another process would."""
    sessions._begun.clear()
    sessions._finished.clear()


def tiny(directory, epochs=2, data=(X, Y), units=2, seed=0, rate=0.01, **options):
    """Fit a tiny model; ``options`` go to ``fit``, but ``recorder`` and ``more`` callbacks."""
    recorder = options.pop("recorder", {})
    more = options.pop("more", [])
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(units)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss)
    x, y = data if isinstance(data, tuple) else (data, None)
    callbacks = [experiments.Recorder(directory, **recorder), *more]
    options = {"shuffle": False, "verbose": 0, **options}
    return model, model.fit(x, y, epochs=epochs, callbacks=callbacks, **options)


def assert_same(one, other) -> None:
    (model, history), (same_model, same_history) = one, other
    assert (same_history.history, same_history.epoch) == (history.history, history.epoch)
    for a, b in zip(model.get_weights(), same_model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


INTERRUPTED = {
    "dropout_and_plateau": [("batch", 0), ("begin", 2), ("end", 3)],
    "schedule_and_averages": [("batch", 2)],
    "autoencoder": [("batch", 1)],
    "recurrent": [("end", 2)],
    "several_inputs": [("batch", 3)],
    "fine_tuning": [("batch", 2)],
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Keras's CSVLogger
@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupted_training_resumes_to_the_same_bits(tmp_path, name):
    undisturbed = train(name, tmp_path / "undisturbed")
    run = run_record.read_any(tmp_path / "undisturbed")
    assert (run.status, run.intervals, run.inexact) == ("complete", user_scripts.EPOCHS, ())
    for where, epoch in INTERRUPTED[name]:
        directory = tmp_path / f"{where}{epoch}"
        forget()
        with pytest.raises(KeyboardInterrupt):
            train(name, directory, extra=[Killer(where, epoch, KeyboardInterrupt)])
        forget()
        assert_same(undisturbed, train(name, directory))
        assert run_record.read_any(directory).chain == run.chain
        assert (directory / "model.keras").exists()
    gc.collect()  # it leaves its file open


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its step is TensorFlow's")
def test_optimisers_that_are_built_in_the_first_step_are_restored(tmp_path):
    undisturbed = train("adversarial", tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        train("adversarial", tmp_path / "b", extra=[Killer("batch", 3, KeyboardInterrupt)])
    assert_same(undisturbed, train("adversarial", tmp_path / "b"))
    found = checkpoint.load_newest(tmp_path / "b/state")[0]
    assert {*found.extra["slots"]} >= {"g_optimizer", "d_optimizer"}


def test_a_finished_training_returns_at_once_and_is_extended_from_its_end(tmp_path):
    for name in ("dropout_and_plateau", "schedule_and_averages"):
        longer = train(name, tmp_path / f"{name}-long", epochs=5)
        first = train(name, tmp_path / name, epochs=3)
        forget()
        steps = Counter()
        assert_same(first, train(name, tmp_path / name, epochs=3, extra=[steps]))
        assert steps.batches == 0
        forget()
        assert_same(longer, train(name, tmp_path / name, epochs=5))
        forget()
        with pytest.raises(experiments.UserError, match="has 5 epochs already, and fit asks for 4"):
            train(name, tmp_path / name, epochs=4)


class Counter(keras.callbacks.Callback):
    batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1


def test_a_training_killed_at_its_very_end_is_completed(tmp_path):
    undisturbed = train("recurrent", tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        train("recurrent", tmp_path / "b", extra=[Killer("last", 0, KeyboardInterrupt)])
    assert_same(undisturbed, train("recurrent", tmp_path / "b"))
    assert run_record.read_any(tmp_path / "b").status == "complete"


def test_early_stopping_stays_stopped_with_the_best_weights(tmp_path):
    def stopping():
        return keras.callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)

    first = tiny(tmp_path, epochs=9, rate=50.0, more=[stopping()])
    assert 1 < len(first[1].epoch) < 9
    forget()
    assert_same(first, tiny(tmp_path, epochs=20, rate=50.0, more=[stopping()]))


def test_two_fits_need_two_directories(tmp_path):
    tiny(tmp_path / "a", epochs=1)
    with pytest.raises(experiments.UserError, match="give each fit a directory of its own"):
        tiny(tmp_path / "a", epochs=1)
    tiny(tmp_path / "b", epochs=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": 3}, r"model\.parameters \(130 there, 195 here\)"),
        ({"rate": 0.02}, r"model\.optimizers\.optimizer\.learning_rate"),
        ({"seed": 1}, r"seed \(0 there, 1 here\)"),
        ({"data": (X + 1, Y)}, r"data\.content"),
        ({"batch_size": 20}, r"data\.batch_size \(32 there, 20 here\)"),
    ],
)
def test_another_training_in_the_directory_is_refused_in_a_line(tmp_path, changes, message):
    tiny(tmp_path, epochs=1)
    forget()
    with pytest.raises(experiments.UserError, match=f"^[^\n]*{message}[^\n]*$"):
        tiny(tmp_path, epochs=2, **changes)
    assert run_record.read_any(tmp_path).intervals == 1
    tiny(tmp_path, epochs=2)
    assert run_record.read_any(tmp_path).intervals == 2


def test_other_initial_values_are_refused(tmp_path):
    def build(seed):
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        kernel = keras.initializers.RandomNormal(seed=seed)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.layers[0].kernel.assign(kernel((4, 1)))
        model.compile("sgd", "mse")
        model.fit(X[:, 0, :4, 0], Y, verbose=0, callbacks=[experiments.Recorder(tmp_path)],
                  shuffle=False)  # fmt: skip

    build(1)
    forget()
    with pytest.raises(experiments.UserError, match="kernel has other initial values"):
        build(2)


def test_another_environment_is_refused_or_noted(tmp_path, monkeypatch):
    from experiments.harness.runtime import determinism

    undisturbed = tiny(tmp_path / "a", epochs=3)
    tiny(tmp_path / "b", epochs=2)
    forget()
    other = {**determinism.found(), "threads": 99}
    monkeypatch.setattr(determinism, "found", lambda: other)
    with pytest.raises(
        experiments.UserError, match=r"another environment: threads \(\d+ there, 99"
    ):
        tiny(tmp_path / "b", epochs=3)
    forget()
    resumed = tiny(tmp_path / "b", epochs=3, recorder={"on_other_hardware": "continue"})
    assert_same(undisturbed, resumed)
    (note,) = run_record.read_any(tmp_path / "b").inexact
    assert note["after"] == 2
    assert "threads" in note["why"]


class Remembering(keras.callbacks.Callback):
    """Adds to the logs how often it was called."""

    calls = 0

    def on_epoch_end(self, epoch, logs=None):
        self.calls += 1
        logs["calls"] = self.calls

    def get_state(self):
        return {"calls": self.calls}

    def set_state(self, state):
        self.calls = state["calls"]


class Forgetting(Remembering):
    get_state = None

    def __init__(self):
        super().__init__()
        self.calls = 0


def test_a_users_own_callback_is_resumed_if_it_has_a_state(tmp_path, caplog):
    with caplog.at_level("INFO", "rerun_zoo"):
        with pytest.raises(KeyboardInterrupt):
            tiny(tmp_path / "a", 4, more=[Remembering(), Killer("batch", 2, KeyboardInterrupt)])
        _, history = tiny(tmp_path / "a", 4, more=[Remembering()])
        assert history.history["calls"] == [1, 2, 3, 4]
        assert not [line for line in caplog.messages if "not resumed" in line]
        tiny(tmp_path / "b", 3, more=[Forgetting()])
    (line,) = [line for line in caplog.messages if "not resumed" in line]
    assert "Forgetting: what it remembers is not saved; give it get_state()" in line


class Images(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(20 * index, 20 * index + 20)
        return X[part] + np.random.uniform(0, 0.1), Y[part]


class Reshuffled(Images):
    def on_epoch_end(self):
        pass


def endless():
    while True:
        yield X[:20], Y[:20]


def doubts(tmp_path, caplog, data, **options) -> list[str]:
    caplog.clear()
    with caplog.at_level("INFO", "rerun_zoo"):
        tiny(tmp_path, epochs=1, data=data, **options)
    return [line for line in caplog.messages if "cannot be resumed exactly" in line]


def test_users_of_other_data_are_told_what_cannot_be_resumed(tmp_path, caplog):
    cases = {
        "arrays": ((X, Y), {}, ""),
        "dataset": (Images(), {"shuffle": True}, ""),
        "reshuffled": (Reshuffled(), {}, "Reshuffled.on_epoch_end changes cannot be restored"),
        "workers": (Images(workers=2), {}, "with workers may draw in another order"),
        "generator": (endless(), {"steps_per_epoch": 3}, "a generator's position"),
    }
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        frames = tf.data.Dataset.from_tensor_slices((X, Y))
        cases |= {
            "shuffled arrays": ((X, Y), {"shuffle": True}, "TensorFlow shuffles arrays"),
            "frames": (frames.batch(20), {}, ""),
            "shuffled frames": (frames.shuffle(60).batch(20), {}, "draws anew or may do so: Shuf"),
            "fixed": (frames.shuffle(60, 1, reshuffle_each_iteration=False).batch(20), {}, ""),
            "endless": (frames.batch(20).repeat(), {"steps_per_epoch": 3}, "the position in the"),
        }
    for name, (data, options, reason) in cases.items():
        lines = doubts(tmp_path / name, caplog, data, **options)
        assert len(lines) == bool(reason), (name, lines)
        assert all(reason in line and "experiments.Batches" in line for line in lines), lines


def test_a_py_dataset_that_draws_is_resumed_to_the_same_bits(tmp_path):
    undisturbed = tiny(tmp_path / "a", 4, Images(), shuffle=True)
    killer = Killer("batch", 2, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path / "b", 4, Images(), shuffle=True, more=[killer])
    assert_same(undisturbed, tiny(tmp_path / "b", 4, Images(), shuffle=True))


def test_what_resumes_inexactly_is_marked(tmp_path):
    options = {"steps_per_epoch": 3}
    killer = Killer("batch", 1, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, 3, endless(), more=[killer], **options)
    tiny(tmp_path, 3, endless(), **options)
    (note,) = run_record.read_any(tmp_path).inexact
    assert note["after"] == 1
    assert "a generator's position" in note["why"]


def test_misuse_is_a_user_error(tmp_path):
    backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
    batches = experiments.Batches(X, Y)
    for options, message in (
        ({"more": [backup]}, "leave out BackupAndRestore"),
        ({"data": batches, "class_weight": {0: 1.0, 1: 2.0}}, "ignores class_weight"),
        ({"data": batches, "steps_per_epoch": 1}, r"Batches\(steps=N\) sets it"),
        ({"recorder": {"on_other_hardware": "go"}}, "'refuse' or 'continue', not go"),
    ):
        with pytest.raises(experiments.UserError, match=message):
            tiny(tmp_path / "run", **options)
    recorder = experiments.Recorder(tmp_path / "run")
    recorder.set_model(keras.Sequential())
    with pytest.raises(experiments.UserError, match="only among the callbacks of Keras's fit"):
        recorder.on_train_begin()
    with pytest.raises(experiments.UserError, match="not a local directory"):
        experiments.Recorder("gs://bucket/run")


def test_a_fit_after_another_begins_at_its_own_epoch(tmp_path):
    model, _ = tiny(tmp_path, epochs=1)
    forget()
    model, _ = tiny(tmp_path, epochs=1)  # returns at once
    history = model.fit(X, Y, epochs=2, verbose=0)
    assert history.epoch == [0, 1]


def test_the_commands_take_such_directories(tmp_path, capsys):
    for name, seed in (("a", 0), ("b", 0), ("c", 0)):
        batches = experiments.Batches(X, Y, batch_size=16, seed=seed)
        more = [Bump(1)] if name == "c" else []
        tiny(tmp_path / name, epochs=3, data=batches, more=more)
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert verify.main([a, "--against", b]) == 0
    assert capsys.readouterr().out.startswith("identical, 3 intervals\nfingerprint")
    assert verify.main([a, "--against", c]) == 1
    out = capsys.readouterr().out
    assert "interval     2 (steps 5 to 8)" in out
    assert "bias: 50 % of 2 elements differ" in out
    for command in (lambda: verify.main([a]), lambda: replay.main([a, "--step", "1"])):
        assert command() == 2
        assert "which only that script can train again" in capsys.readouterr().err
    assert report.main(["--logdir", str(tmp_path)]) == 0
    out, fingerprint = capsys.readouterr().out, run_record.read_any(tmp_path / "a").fingerprint
    assert out.count(fingerprint[:16]) == 2
    page = (tmp_path / "report.html").read_text()
    assert page.count(fingerprint[:16]) == 2
    assert report.main(["--logdir", str(tmp_path), "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)
    assert [run["directory"] for run in runs] == ["a", "b", "c"]
    assert len(runs[0]["history"]["loss"]) == 3


class Bump(keras.callbacks.Callback):
    """Changes one bias by one unit in the last place."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            bias = self.model.layers[-1].bias
            values = to_numpy(bias)
            values[0] = np.nextafter(values[0], 1)
            bias.assign(values)


def run_script(backend: str, directory, *argv: str) -> int:
    environ = {**os.environ, "KERAS_BACKEND": backend}
    module = [sys.executable, "-m", "tests.helpers.user_scripts", "recurrent", str(directory)]
    return subprocess.run([*module, *argv], env=environ, cwd=ROOT).returncode


@pytest.mark.slow  # three processes; test_reproduce.py kills a run
def test_a_script_killed_by_sigkill_resumes_in_another_process(tmp_path):
    assert run_script("jax", tmp_path / "a") == 0
    assert run_script("jax", tmp_path / "b", "--trap", "half", "state", "3") == -9
    assert run_script("jax", tmp_path / "b") == 0
    a, b = (run_record.read_any(tmp_path / name) for name in "ab")
    assert (b.chain, b.history, b.status) == (a.chain, a.history, "complete")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_scripts_killed_anywhere_end_with_the_bits_of_undisturbed_ones(backend, monkeypatch):
    pytest.importorskip(backend)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert script_campaign.main(["--kills", "12"]) == 0
