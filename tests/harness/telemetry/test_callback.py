"""Event files of a model that is not the project's, read with TensorBoard's own reader."""

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments.harness.model.variables import read
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
        values = keras.ops.convert_to_numpy(variable)
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
    values = keras.ops.convert_to_numpy(convolved(X[:32]))
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


@pytest.mark.parametrize(
    "options", [{"every": 1}, {"every": 3, "kinds": ("outputs",)}, {"kinds": KINDS, "batch": None}]
)
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
