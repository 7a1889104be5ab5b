import importlib

import keras
import numpy as np
import pytest

import zoo
from experiments.harness.model import probes
from experiments.harness.model.gradients import Gradients
from experiments.harness.model.variables import read, to_numpy


def build_model(**options) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = zoo.build("mnist_cnn", widths=(3, 4, 5), **options)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def batch(count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((count, 28, 28, 1), dtype="float32"), rng.integers(0, 10, count)


def probe_input(model: keras.Model, first=None, start=None) -> probes.ProbeInput:
    now = read(model)
    return probes.ProbeInput(model, batch(), first or now, start or now, now, first is None)


def test_distinct_units_are_counted_exactly_and_rounded():
    model = build_model(kernel_initializer="zeros")
    assert probes.distinct_units(probe_input(model)) == {
        f"{layer}_distinct{suffix}": 1
        for layer in ("conv1", "conv2", "fc1", "output")
        for suffix in ("", "_1e-6")
    }
    kernel, bias = model.get_layer("fc1").get_weights()
    kernel[0, 1] = -0.0  # equal to 0.0, with different bits
    kernel[0, 2] = 1e-7
    kernel[0, 3] = 1e-5
    model.get_layer("fc1").set_weights([kernel, bias])
    counts = probes.distinct_units(probe_input(model))
    assert (counts["fc1_distinct"], counts["fc1_distinct_1e-6"]) == (3, 2)


def test_the_spread_of_units_is_the_largest_distance_from_their_mean():
    model = build_model(kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(2))
    assert set(probes.unit_spread(probe_input(model)).values()) == {0.0}
    kernel, bias = model.get_layer("fc1").get_weights()
    bias[0] += 5e-6
    model.get_layer("fc1").set_weights([kernel, bias])
    measured = probes.unit_spread(probe_input(model))
    moved = float(bias[0]) - 2
    mean = 2 + moved / len(bias)
    assert measured["fc1_spread"] == pytest.approx((moved - moved / len(bias)) / mean)
    assert measured["conv1_spread"] == 0


def test_movement_separates_elements_from_their_distribution():
    model = build_model()
    first = read(model)
    for layer in ("conv1", "conv2", "fc1", "output"):
        kernel, bias = model.get_layer(layer).get_weights()
        model.get_layer(layer).set_weights([kernel[..., ::-1], bias + 1])  # swapped units
    measured = probes.movement(probe_input(model, first, first))
    assert measured["kernel_shifted"] == 0
    assert measured["kernel_moved"] > 0.5
    assert measured["kernel_update"] > 0.5
    assert (
        measured["bias_moved"] == measured["bias_shifted"] == pytest.approx(2)
    )  # widths of {0, 1}
    assert measured["bias_drift"] == 0
    assert measured["kernel_drift"] > 0.5
    assert measured["bias_update"] == 0  # biases of norm 0 have no relative update
    assert set(probes.movement(probe_input(model)).values()) == {0.0}


def test_the_shift_of_a_distribution_is_relative_to_its_initial_size():
    model = build_model(bias_initializer=keras.initializers.Constant(0.1))
    first = read(model)
    kernel, bias = model.get_layer("fc1").get_weights()
    model.get_layer("fc1").set_weights([2 * kernel[::-1], bias + 0.05])  # in another order
    measured = probes.distribution_shift(probe_input(model, first, first))
    assert measured["fc1_kernel_shift"] == pytest.approx(1, rel=1e-5)
    assert measured["fc1_bias_shift"] == pytest.approx(0.5, rel=1e-5)
    assert measured["conv1_kernel_shift"] == measured["conv1_bias_shift"] == 0
    assert len(measured) == 2 * 4
    kernels_alone = probes.distribution_shift(probe_input(build_model()))
    assert [*kernels_alone] == [f"{n}_kernel_shift" for n in ("conv1", "conv2", "fc1", "output")]


def test_elements_move_where_their_distribution_does_not():
    model = build_model()
    first = read(model)
    kernel, bias = model.get_layer("fc1").get_weights()
    model.get_layer("fc1").set_weights([kernel[::-1], bias])  # in another order
    seen = probe_input(model, first, first)
    measured = probes.weight_movement(seen)
    change = kernel[::-1] - kernel
    expected = np.mean(np.abs(change)) / np.mean(np.abs(kernel))
    assert measured["fc1_kernel_moved"] == pytest.approx(expected, rel=1e-5)
    assert probes.distribution_shift(seen)["fc1_kernel_shift"] == 0
    update = np.linalg.norm(change) / np.linalg.norm(kernel)
    assert measured["fc1_kernel_update"] == pytest.approx(update, rel=1e-5)
    assert measured["conv1_kernel_moved"] == measured["conv1_kernel_update"] == 0
    assert len(measured) == 2 * 4


def test_variances_are_measured_before_training_and_leave_the_model_unchanged():
    model = build_model(dropout=0.5, rounding_noise=1e-3)
    before = read(model)
    measured = probes.variances(probe_input(model))
    after = read(model)
    assert all(np.array_equal(after[path], before[path]) for path in before)
    x, _ = batch()
    conv1 = keras.Model(model.inputs[0], model.get_layer("conv1_relu").output)(x)
    expected = to_numpy(conv1).var()
    assert measured["conv1_activation_variance"] == pytest.approx(expected, rel=1e-4)
    assert all(measured[f"{layer}_gradient_variance"] > 0 for layer in ("conv1", "fc1", "output"))
    assert probes.variances(probe_input(model, before, before)) == {}


def test_a_diverged_model_is_measured_without_a_warning():
    model = build_model()
    for layer in ("conv1", "conv2"):
        kernel, bias = model.get_layer(layer).get_weights()
        model.get_layer(layer).set_weights([np.full_like(kernel, 3e38), bias])
    kernel, bias = model.get_layer("fc1").get_weights()
    kernel[0] = [np.inf, -np.inf, 1e35, 1.0, -1e35]
    model.get_layer("fc1").set_weights([kernel, bias])
    measured = {name: probe(probe_input(model)) for name, probe in probes.PROBES.items()}
    assert not np.isfinite(measured["variances"]["conv1_activation_variance"])
    assert np.isnan(measured["movement"]["kernel_moved"])
    assert measured["distinct_units"]["fc1_distinct"] == 5


def test_gradients_match_a_step_of_plain_sgd():
    model = build_model()
    gradients = Gradients(model)(batch())
    before = read(model)
    model.compile(keras.optimizers.SGD(1.0), model.loss)
    model.train_on_batch(*batch())
    for path, gradient in gradients.items():
        step = before[path] - read(model)[path]
        np.testing.assert_allclose(gradient, step, rtol=1e-3, atol=1e-6)


def test_tensorboard_draws_the_percentiles_that_document_003_is_judged_by():
    """If TensorBoard draws other percentiles, the document's claims must be judged again."""
    from tensorboard.plugins.distribution.compressor import NORMAL_HISTOGRAM_BPS

    lines = importlib.import_module("experiments.catalog.weights_or_biases").LINES
    assert [points / 100 for points in NORMAL_HISTOGRAM_BPS] == list(lines)
