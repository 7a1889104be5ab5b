"""Event files of a model that is not the project's, read with TensorBoard's own reader."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments.harness.model.variables import read, to_numpy
from experiments.harness.telemetry.callback import KINDS, Telemetry

X = np.random.default_rng(0).random((48, 8, 8, 1), dtype="float32")
Y = np.arange(48) % 3


def build_model() -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    x = image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv1")(x)
    x = keras.layers.BatchNormalization(name="conv1_bn")(x)
    x = keras.layers.Dropout(0.5, name="conv1_dropout")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    model = keras.Model(image, keras.layers.Dense(3, name="output")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def fit(model: keras.Model, *callbacks: keras.callbacks.Callback, epochs: int = 4, **options):
    model.fit(
        X, Y, batch_size=16, epochs=epochs, shuffle=False, verbose=0,
        validation_data=(X, Y), callbacks=callbacks, **options,
    )  # fmt: skip
    return model


def read_events(directory) -> EventAccumulator:
    events = EventAccumulator(str(directory), size_guidance=dict.fromkeys(
        ("scalars", "histograms", "images", "tensors"), 0))  # fmt: skip
    events.Reload()
    return events


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    callback = Telemetry(directory, (X, Y), every=2, hyperparameters={"rate": 0.1, "kind": "a"})
    return fit(build_model(), callback), read_events(directory)


def test_scalars_are_written_every_epoch_and_histograms_every_second_epoch(trained):
    _, events = trained
    for tag in ("loss/train", "loss/test", "accuracy/train", "accuracy/test"):
        assert [event.step for event in events.Scalars(tag)] == [3, 6, 9, 12]
    for tag in ("conv1/kernel", "conv1/pre_activation", "conv1/output", "conv1/bn",
                "conv1/bn/gamma", "output/bias", "output/output",
                "output/kernel/gradient"):  # fmt: skip
        assert [event.step for event in events.Histograms(tag)] == [0, 6, 12], tag
    for tag in ("conv1/kernel/update", "conv1/bn/moving_mean/update"):
        assert [event.step for event in events.Histograms(tag)] == [6, 12]
    for tag in ("conv1/kernel/relative_update",):
        assert [event.step for event in events.Scalars(tag)] == [6, 12]
    for tag in ("conv1/distinct_units", "conv1/kernel/gradient_norm", "conv1/output/mean",
                "conv1/output/spread", "conv1/output/dead"):  # fmt: skip
        assert [event.step for event in events.Scalars(tag)] == [0, 6, 12]
    nodes = {node.name: [*node.input] for node in events.Graph().node}
    assert nodes["conv1/conv1_bn"] == ["conv1/conv1"]
    assert nodes["output/output"] == ["flatten"]


def test_last_epoch_has_histograms_at_any_cadence(tmp_path):
    fit(build_model(), Telemetry(tmp_path, every=3, kinds=["variables"]))
    histograms = read_events(tmp_path).Histograms("conv1/kernel")
    assert [event.step for event in histograms] == [0, 9, 12]


def test_histograms_match_the_tensors(trained):
    model, events = trained
    for tag, variable in (
        ("conv1/kernel", model.get_layer("conv1").kernel),
        ("conv1/bn/moving_variance", model.get_layer("conv1_bn").moving_variance),
    ):
        values = to_numpy(variable)
        last = events.Histograms(tag)[-1].histogram_value
        assert sum(last.bucket) == last.num == values.size
        assert (last.min, last.max) == (values.min(), values.max())
        assert last.sum == pytest.approx(values.sum(dtype="float64"))
    output = events.Histograms("conv1/output")[-1].histogram_value
    before = events.Histograms("conv1/pre_activation")[-1].histogram_value
    assert output.num == before.num == 32 * 6 * 6 * 4
    assert output.min >= 0 > before.min
    assert output.max == before.max


def test_scalars_match_the_tensors(trained):
    model, events = trained
    convolved = keras.Model(model.input, model.get_layer("conv1").output)
    values = to_numpy(convolved(X[:32]))
    last = {tag: events.Scalars(f"conv1/output/{tag}")[-1].value for tag in ("mean", "spread")}
    assert last["mean"] == pytest.approx(values.mean(), rel=1e-4)
    assert last["spread"] == pytest.approx(values.std(), rel=1e-4)
    assert events.Scalars("conv1/distinct_units")[-1].value == 4


def test_images_and_hyperparameters_are_written(trained):
    _, events = trained
    assert events.Tags()["images"] == ["batch/seen", "conv1/kernel/filters"]
    assert [event.step for event in events.Images("conv1/kernel/filters")] == [0, 6, 12]
    started = events.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert started.plugin_name == "hparams"


@pytest.mark.parametrize("options", [{"every": 1}, {"kinds": KINDS, "batch": None}])
def test_training_is_bit_identical_with_and_without_telemetry(tmp_path, options):
    plain = read(fit(build_model()))
    logged = read(fit(build_model(), Telemetry(tmp_path, **{"batch": (X, Y)} | options)))
    assert plain.keys() == logged.keys()
    for path, values in plain.items():
        np.testing.assert_array_equal(logged[path], values, err_msg=path)


def test_resumed_training_has_a_continuous_axis_without_duplicate_points(tmp_path):
    model = fit(build_model(), Telemetry(tmp_path, (X, Y), every=1), epochs=2)
    fit(model, Telemetry(tmp_path, (X, Y), every=1), initial_epoch=2)
    events = read_events(tmp_path)
    assert [event.step for event in events.Scalars("loss/train")] == [3, 6, 9, 12]
    assert [event.step for event in events.Histograms("conv1/kernel")] == [0, 3, 6, 9, 12]


def test_first_snapshot_of_a_trained_model_is_at_its_current_step(tmp_path):
    fit(fit(build_model(), epochs=2), Telemetry(tmp_path, (X, Y), every=2), initial_epoch=2)
    events = read_events(tmp_path)
    assert [event.step for event in events.Histograms("conv1/kernel")] == [6, 12]
    assert [event.step for event in events.Scalars("learning_rate")] == [9, 12]
    assert events.Graph().node


def test_sequential_model_is_supported(tmp_path):
    dense = keras.layers.Dense(3, "softmax", name="dense")
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), dense])
    model.compile("adam", "sparse_categorical_crossentropy")
    fit(model, Telemetry(tmp_path, (X, Y), every=1), epochs=1)
    tags = read_events(tmp_path).Tags()["histograms"]
    assert {"dense/kernel/gradient", "dense/pre_activation", "dense/output"} <= {*tags}


def test_nonfinite_values_are_counted_without_an_error(tmp_path):
    model = build_model()
    model.get_layer("output").kernel.assign(np.full((144, 3), np.nan))
    fit(model, Telemetry(tmp_path, (X, Y), every=1), epochs=1)
    events = read_events(tmp_path)
    assert events.Scalars("nonfinite/output/kernel")[0].value == 144 * 3
    assert "output/kernel" not in events.Tags()["histograms"]
    assert [event.step for event in events.Histograms("conv1/kernel")] == [0]


def test_invalid_options_raise(tmp_path):
    with pytest.raises(ValueError, match="unknown kind 'weights'"):
        Telemetry(tmp_path, kinds=["weights"])
    with pytest.raises(ValueError, match="every must be 1 or more"):
        Telemetry(tmp_path, every=0)
    with pytest.raises(ValueError, match="batch must be a tuple"):
        Telemetry(tmp_path, X)


class Killed(keras.callbacks.Callback):
    """Dies at the first step of the third epoch."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("order", [1, -1], ids=["telemetry first", "telemetry last"])
def test_the_axis_is_unbroken_if_another_callback_restores(tmp_path, order):
    def callbacks() -> list:
        telemetry = Telemetry(tmp_path / "events", (X, Y), every=1)
        backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
        return [telemetry, backup][::order]

    with pytest.raises(KeyboardInterrupt):
        fit(build_model(), *callbacks(), Killed())
    fit(build_model(), *callbacks())
    events = read_events(tmp_path / "events")
    assert [event.step for event in events.Scalars("loss/train")] == [3, 6, 9, 12]
    assert [event.step for event in events.Histograms("conv1/kernel")] == [0, 3, 6, 9, 12]


def test_a_training_without_an_epoch_leaves_no_events(tmp_path):
    fit(build_model(), Telemetry(tmp_path / "events"), epochs=0)
    assert not (tmp_path / "events").exists()


def test_a_metric_of_several_values_is_a_scalar_each(tmp_path):
    model = build_model()
    model.compile("adam", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    model.fit(X, np.eye(3)[Y], epochs=1, verbose=0, callbacks=[Telemetry(tmp_path, kinds=[])])
    events = read_events(tmp_path)
    values = model.evaluate(X, np.eye(3)[Y], verbose=0, return_dict=True)["f1_score"]
    assert len(values) == 3
    tags = {tag for tag in events.Tags()["scalars"] if tag.startswith("f1_score")}
    assert tags == {"f1_score/0", "f1_score/1", "f1_score/2"}


def test_a_log_that_is_not_a_number_is_left_out_and_logged_once(tmp_path, caplog):
    class AddText(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            logs |= {"phase": "warm-up"}

    fit(build_model(), AddText(), Telemetry(tmp_path, kinds=[]), epochs=2)
    assert [event.step for event in read_events(tmp_path).Scalars("loss/train")] == [3, 6]
    (line,) = caplog.messages
    assert line.startswith("telemetry cannot read phase and leaves it out: ValueError")


class Unreadable(keras.layers.Layer):
    """Refuses batches of more examples than training has."""

    def call(self, x):
        if x.shape[0] is not None and x.shape[0] > 16:
            raise RuntimeError("too many\nexamples")
        return x

    def compute_output_shape(self, shape):
        return shape


def test_a_model_that_cannot_be_read_trains_on(tmp_path, caplog):
    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        image = keras.Input((8, 8, 1))
        x = keras.layers.Dense(3, name="dense")(keras.layers.Flatten()(Unreadable()(image)))
        model = keras.Model(image, x)
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    plain = read(fit(build(), epochs=2))
    logged = read(fit(build(), Telemetry(tmp_path, (X, Y), every=1), epochs=2))
    events = read_events(tmp_path)
    assert [event.step for event in events.Histograms("dense/kernel")] == [0, 3, 6]
    assert "dense/output" not in events.Tags()["histograms"]
    lines = {
        kind: [line for line in caplog.messages if f"cannot read {kind}" in line]
        for kind in ("outputs", "gradients")
    }
    assert [len(found) for found in lines.values()] == [1, 1]
    assert "too many examples" in lines["outputs"][0]
    assert [value.tobytes() for value in plain.values()] == [v.tobytes() for v in logged.values()]


def test_a_full_disk_still_raises(tmp_path, monkeypatch):
    def fails(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("experiments.harness.telemetry.callback.EventWriter.histogram", fails)
    with pytest.raises(OSError, match="No space left"):
        fit(build_model(), Telemetry(tmp_path, (X, Y)), epochs=1)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras fails to train it on PyTorch")
def test_a_fixed_batch_size_decides_how_many_examples_are_read(tmp_path, caplog):
    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        sequence = keras.Input(batch_shape=(10, 4, 1))
        x = keras.layers.LSTM(5, stateful=True, name="lstm")(sequence)
        model = keras.Model(sequence, keras.layers.Dense(3, name="output")(x))
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    def train(*callbacks: keras.callbacks.Callback) -> list[np.ndarray]:
        model = build()
        model.fit(x, y, batch_size=10, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
        return model.get_weights() + [to_numpy(model.layers[1].states[0])]

    x, y = np.random.default_rng(0).random((100, 4, 1), "float32"), np.arange(100) % 3
    plain, logged = train(), train(Telemetry(tmp_path, (x, y), every=1))
    assert not caplog.messages
    for one, other in zip(plain, logged, strict=True):
        np.testing.assert_array_equal(one, other)
    events = read_events(tmp_path)
    outputs = events.Histograms("output/output")
    assert [event.histogram_value.num for event in outputs] == [10 * 3] * 3
    with pytest.raises(ValueError, match="takes 10 examples at once; batch has 9"):
        train(Telemetry(tmp_path, (x[:9], y[:9])))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x, y: ({"image": x}, y),
        lambda x, y: ([x], {"output": y}),
        lambda x, y: (keras.ops.convert_to_tensor(x), pd.Series(y), None),
        lambda x, y: (x, pd.DataFrame({"label": y})),
        lambda x, y: (x.tolist(), y.tolist(), [1.0] * len(y)),
    ],
    ids=["dict", "list and dict", "tensor and series", "frame", "lists"],
)
def test_a_batch_may_come_as_anything_like_an_array(tmp_path, wrap):
    arrays = Telemetry(tmp_path, wrap(X, Y)).batch
    np.testing.assert_array_equal(arrays[0], X)
    np.testing.assert_array_equal(arrays[1].ravel(), Y)


def test_frames_train_as_arrays_do(tmp_path, caplog):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="dense")])
    model.compile("sgd", "mse")
    frame = pd.DataFrame({"a": np.arange(40.0), "b": np.ones(40)}, index=range(100, 140))
    model.fit(frame, frame["a"], verbose=0, callbacks=[Telemetry(tmp_path, (frame, frame["a"]))])
    assert not caplog.messages
    assert read_events(tmp_path).Histograms("dense/output")[0].histogram_value.num == 32


@pytest.mark.parametrize(
    "batch",
    [
        ({"a": X, "b": X[:5]}, Y),
        (X, Y[:5]),
        (X, None),
        (X[:0], Y[:0]),
        (X, 3),
        (pd.DataFrame({"a": ["x", 1]}), [0, 1]),
        {"inputs": X, "targets": Y},
        (),
    ],
    ids=[
        "lengths of inputs",
        "lengths",
        "no targets",
        "empty",
        "number",
        "objects",
        "dict",
        "nothing",
    ],
)
def test_any_other_batch_is_a_value_error_at_once(tmp_path, batch):
    with pytest.raises(ValueError, match=r"^batch must be a tuple of inputs[^\n]*$"):
        Telemetry(tmp_path, batch)


def build_with_several() -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    image, number = keras.Input((8, 8, 1), name="image"), keras.Input((2,), name="number")
    x = keras.layers.Dense(4, "relu", name="hidden")(keras.layers.Flatten()(image))
    x = keras.layers.Dropout(0.5)(keras.layers.Concatenate()([x, number]))
    outputs = {
        "label": keras.layers.Dense(3, name="label")(x),
        "mean": keras.layers.Dense(1, name="mean")(x),
    }
    model = keras.Model({"image": image, "number": number}, outputs)
    label = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", {"label": label, "mean": "mse"}, loss_weights={"label": 0.0, "mean": 2.0})
    return model


def test_several_inputs_and_outputs_are_read(tmp_path, caplog):
    x = {"image": X, "number": X[:, 0, :2, 0]}
    y = {"label": Y, "mean": X.mean((1, 2, 3))}

    def train(*callbacks: keras.callbacks.Callback) -> keras.Model:
        model = build_with_several()
        model.fit(x, y, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
        return model

    plain, logged = train(), train(Telemetry(tmp_path, (x, y), every=1))
    for path, values in read(plain).items():
        np.testing.assert_array_equal(read(logged)[path], values, err_msg=path)
    assert not caplog.messages
    events = read_events(tmp_path)
    for tag in ("hidden/output", "label/output", "mean/output", "mean/kernel/gradient"):
        assert [event.step for event in events.Histograms(tag)] == [0, 2, 4], tag
    norms = [event.value for event in events.Scalars("label/kernel/gradient_norm")]
    assert norms == [0.0, 0.0, 0.0]  # the loss's weight
    assert {"label", "mean"} <= {node.name.split("/")[0] for node in events.Graph().node}


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = keras.layers.Dense(4, name="hidden")
        self.noise = keras.layers.Dropout(0.5)
        self.last = keras.Sequential([keras.layers.Dense(3, name="inner")], name="last")

    def call(self, x, training=None):
        x = self.hidden(keras.ops.reshape(x, (-1, 64)))
        return self.last(self.noise(x, training=training))


def test_a_subclassed_model_that_fit_builds_is_read(tmp_path, caplog):
    def train(*callbacks: keras.callbacks.Callback) -> keras.Model:
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        model = Subclassed()
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return fit(model, *callbacks, epochs=2)

    plain, logged = train(), train(Telemetry(tmp_path, (X, Y), every=1))
    for one, other in zip(plain.get_weights(), logged.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not caplog.messages
    events = read_events(tmp_path)
    assert [event.step for event in events.Histograms("hidden/kernel")][-2:] == [3, 6]
    assert events.Histograms("last/inner/kernel/update")[-1].step == 6
    assert [event.histogram_value.num for event in events.Histograms("output")] == [96] * 3


class GlobalNoise(keras.layers.Layer):
    def call(self, x, training=None):
        return x + keras.random.normal(keras.ops.shape(x)) if training else x


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX needs a SeedGenerator")
def test_reading_leaves_the_global_generator_alone(tmp_path):
    def train(*callbacks: keras.callbacks.Callback) -> keras.Model:
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((8, 8, 1)), GlobalNoise(), keras.layers.Flatten(), keras.layers.Dense(3)]
        )
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return fit(model, *callbacks, epochs=3)

    plain, logged = train(), train(Telemetry(tmp_path, (X, Y), every=1))
    for one, other in zip(plain.get_weights(), logged.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_last_snapshot_is_taken_however_training_ends(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            self.model.stop_training = epoch == 1

    fit(build_model(), Telemetry(tmp_path / "a", kinds=["variables"]), Stop(), epochs=9)
    telemetry = Telemetry(tmp_path / "b", kinds=["variables"])
    with pytest.raises(KeyboardInterrupt):
        fit(build_model(), telemetry, Killed(), epochs=9)
    telemetry._finish_at_exit()  # as the interpreter does
    for name in ("a", "b"):
        steps = [event.step for event in read_events(tmp_path / name).Histograms("conv1/kernel")]
        assert steps == [0, 6]


def test_an_explicit_first_step_counts_batches(tmp_path):
    fit(build_model(), Telemetry(tmp_path, every=1, kinds=["variables"], first_step=100), epochs=2)
    events = read_events(tmp_path)
    assert [event.step for event in events.Histograms("conv1/kernel")] == [100, 103, 106]
    assert [event.step for event in events.Scalars("loss/train")] == [103, 106]
    with pytest.raises(ValueError, match="first_step must be 0 or more"):
        Telemetry(tmp_path, first_step=-1)


@pytest.mark.parametrize("address", ["gs://bucket/x", "s3://bucket/x", Path("hdfs://host/x")])
def test_a_remote_directory_is_refused_before_anything_is_created(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is not a local directory"):
        Telemetry(address)
    assert not [*tmp_path.iterdir()]
