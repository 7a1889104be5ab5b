"""Event files read back with TensorBoard's own reader, of a model that is not the project's."""

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments.harness.model.variables import read
from experiments.harness.telemetry.callback import KINDS, Telemetry

X = np.random.default_rng(0).random((48, 8, 8, 1), dtype="float32")
Y = np.arange(48) % 3


def model() -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    x = image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv1")(x)
    x = keras.layers.BatchNormalization(name="conv1_bn")(x)
    x = keras.layers.Dropout(0.5, name="conv1_dropout")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    built = keras.Model(image, keras.layers.Dense(3, name="output")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    built.compile("adam", loss, metrics=["accuracy"])
    return built


def fit(built: keras.Model, *callbacks: keras.callbacks.Callback, epochs: int = 4, **options):
    built.fit(
        X, Y, batch_size=16, epochs=epochs, shuffle=False, verbose=0,
        validation_data=(X, Y), callbacks=callbacks, **options,
    )  # fmt: skip
    return built


def events(directory) -> EventAccumulator:
    found = EventAccumulator(str(directory), size_guidance=dict.fromkeys(
        ("scalars", "histograms", "images", "tensors"), 0))  # fmt: skip
    found.Reload()
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    callback = Telemetry(directory, (X, Y), every=2, hyperparameters={"rate": 0.1, "kind": "a"})
    return fit(model(), callback), events(directory)


def test_scalars_stand_at_each_epochs_end_and_histograms_at_every_second(trained):
    _, found = trained
    for tag in ("loss/train", "loss/test", "accuracy/train", "accuracy/test"):
        assert [event.step for event in found.Scalars(tag)] == [3, 6, 9, 12]
    for tag in ("conv1/kernel", "conv1/pre_activation", "conv1/output", "conv1/bn",
                "conv1/bn/gamma", "output/bias", "output/output",
                "output/kernel/gradient"):  # fmt: skip
        assert [event.step for event in found.Histograms(tag)] == [0, 6, 12], tag
    for tag in ("conv1/kernel/update", "conv1/bn/moving_mean/update"):
        assert [event.step for event in found.Histograms(tag)] == [6, 12]
    for tag in ("conv1/kernel/relative_update",):
        assert [event.step for event in found.Scalars(tag)] == [6, 12]
    for tag in ("conv1/distinct_units", "conv1/kernel/gradient_norm", "conv1/output/mean",
                "conv1/output/spread", "conv1/output/dead"):  # fmt: skip
        assert [event.step for event in found.Scalars(tag)] == [0, 6, 12]
    nodes = {node.name: [*node.input] for node in found.Graph().node}
    assert nodes["conv1/conv1_bn"] == ["conv1/conv1"]
    assert nodes["output/output"] == ["flatten"]


def test_the_last_epoch_has_histograms_at_any_cadence(tmp_path):
    fit(model(), Telemetry(tmp_path, every=3, kinds=["variables"]))
    found = events(tmp_path).Histograms("conv1/kernel")
    assert [event.step for event in found] == [0, 9, 12]


def test_histograms_hold_the_tensors_values(trained):
    built, found = trained
    for tag, variable in (
        ("conv1/kernel", built.get_layer("conv1").kernel),
        ("conv1/bn/moving_variance", built.get_layer("conv1_bn").moving_variance),
    ):
        values = keras.ops.convert_to_numpy(variable)
        last = found.Histograms(tag)[-1].histogram_value
        assert sum(last.bucket) == last.num == values.size
        assert (last.min, last.max) == (values.min(), values.max())
        assert last.sum == pytest.approx(values.sum(dtype="float64"))
    output = found.Histograms("conv1/output")[-1].histogram_value
    before = found.Histograms("conv1/pre_activation")[-1].histogram_value
    assert output.num == before.num == 32 * 6 * 6 * 4
    assert output.min >= 0 > before.min
    assert output.max == before.max


def test_numbers_are_those_of_the_tensors(trained):
    built, found = trained
    convolved = keras.Model(built.input, built.get_layer("conv1").output)
    values = keras.ops.convert_to_numpy(convolved(X[:32]))
    last = {tag: found.Scalars(f"conv1/output/{tag}")[-1].value for tag in ("mean", "spread")}
    assert last["mean"] == pytest.approx(values.mean(), rel=1e-4)
    assert last["spread"] == pytest.approx(values.std(), rel=1e-4)
    assert found.Scalars("conv1/distinct_units")[-1].value == 4


def test_pictures_and_hyperparameters_are_there(trained):
    _, found = trained
    assert found.Tags()["images"] == ["batch/seen", "conv1/kernel/filters"]
    assert [event.step for event in found.Images("conv1/kernel/filters")] == [0, 6, 12]
    started = found.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert started.plugin_name == "hparams"


@pytest.mark.parametrize(
    "options", [{"every": 1}, {"every": 3, "kinds": ("outputs",)}, {"kinds": KINDS, "batch": None}]
)
def test_training_is_the_same_to_the_last_bit_with_it_and_without(tmp_path, options):
    plain = read(fit(model()))
    watched = read(fit(model(), Telemetry(tmp_path, **{"batch": (X, Y)} | options)))
    assert plain.keys() == watched.keys()
    for path, values in plain.items():
        np.testing.assert_array_equal(watched[path], values, err_msg=path)


def test_going_on_the_axis_is_unbroken_and_has_no_point_twice(tmp_path):
    built = fit(model(), Telemetry(tmp_path, (X, Y), every=1), epochs=2)
    fit(built, Telemetry(tmp_path, (X, Y), every=1), initial_epoch=2)
    found = events(tmp_path)
    assert [event.step for event in found.Scalars("loss/train")] == [3, 6, 9, 12]
    assert [event.step for event in found.Histograms("conv1/kernel")] == [0, 3, 6, 9, 12]


def test_a_model_trained_before_has_its_first_snapshot_where_it_stands(tmp_path):
    fit(fit(model(), epochs=2), Telemetry(tmp_path, (X, Y), every=2), initial_epoch=2)
    found = events(tmp_path)
    assert [event.step for event in found.Histograms("conv1/kernel")] == [6, 12]
    assert [event.step for event in found.Scalars("learning_rate")] == [9, 12]
    assert found.Graph().node


def test_a_sequential_model_is_read_too(tmp_path):
    dense = keras.layers.Dense(3, "softmax", name="dense")
    built = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), dense])
    built.compile("adam", "sparse_categorical_crossentropy")
    fit(built, Telemetry(tmp_path, (X, Y), every=1), epochs=1)
    tags = events(tmp_path).Tags()["histograms"]
    assert {"dense/kernel/gradient", "dense/pre_activation", "dense/output"} <= {*tags}


def test_what_is_not_finite_is_counted_and_never_fatal(tmp_path):
    built = model()
    built.get_layer("output").kernel.assign(np.full((144, 3), np.nan))
    fit(built, Telemetry(tmp_path, (X, Y), every=1), epochs=1)
    found = events(tmp_path)
    assert found.Scalars("nonfinite/output/kernel")[0].value == 144 * 3
    assert "output/kernel" not in found.Tags()["histograms"]
    assert [event.step for event in found.Histograms("conv1/kernel")] == [0]


def test_bad_options_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no kind is called 'weights'"):
        Telemetry(tmp_path, kinds=["weights"])
    with pytest.raises(ValueError, match="every must be 1 or more"):
        Telemetry(tmp_path, every=0)
    with pytest.raises(ValueError, match="batch must be a tuple"):
        Telemetry(tmp_path, X)
