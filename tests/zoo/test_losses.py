import keras
import numpy as np

import zoo
from experiments.harness.model.gradients import Gradients
from zoo.losses import BareLogCrossentropy, RootOfSquare

STABLE = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")


def value(loss, labels, logits) -> float:
    return float(loss(np.array(labels, "int32"), np.array(logits, "float32")))


def test_it_is_the_sum_of_the_cross_entropy_where_nothing_underflows():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 10, 200), 5 * rng.normal(size=(200, 10))
    bare, stable = value(BareLogCrossentropy(), labels, logits), value(STABLE, labels, logits)
    np.testing.assert_allclose(bare, stable, rtol=1e-5)


def test_one_underflow_makes_it_nan_although_the_sample_is_right():
    labels, near, far = [0], [[80.0, 0.0, 0.0]], [[110.0, 0.0, 0.0]]
    assert np.isfinite(value(BareLogCrossentropy(), labels, near))
    assert np.isnan(value(BareLogCrossentropy(), labels, far))
    assert value(STABLE, labels, far) == 0.0


def test_the_factor_shifts_the_loss_and_brings_the_underflow_nearer():
    shifted = keras.losses.deserialize(keras.losses.serialize(BareLogCrossentropy(factor=1e-7)))
    plain, labels, logits = BareLogCrossentropy(), [0, 1], [[3.0, 0.0], [0.0, 1.0]]
    shift = value(shifted, labels, logits) - value(plain, labels, logits)
    np.testing.assert_allclose(shift, 2 * 7 * np.log(10), rtol=1e-5)
    between = [[75.0, 0.0, 0.0]]
    assert np.isfinite(value(plain, [0], between))
    if keras.backend.backend() != "torch":  # which keeps denormals
        assert np.isnan(value(shifted, [0], between))


def test_a_shift_in_the_log_prevents_the_nan():
    shifted = keras.losses.deserialize(keras.losses.serialize(BareLogCrossentropy(shift=1e-7)))
    far = [[110.0, 0.0, 0.0]]
    np.testing.assert_allclose(value(shifted, [0], far), 0, atol=2e-7)  # log(1 + 1e-7)
    np.testing.assert_allclose(value(shifted, [1], far), 7 * np.log(10), rtol=1e-5)


def test_the_root_of_the_square_is_the_absolute_error_with_a_nan_gradient_at_0():
    y, prediction = np.array([1.0, -2.0], "float32"), np.array([[0.5], [2.0]], "float32")
    assert float(RootOfSquare()(y, prediction)) == 2.25
    weighted = RootOfSquare()(y, prediction, sample_weight=np.array([1.0, 0.5], "float32"))
    assert float(weighted) == 1.25  # the mean is over the samples, not over their weights
    model = zoo.build("valence_cnn", width=1 / 32, output_stddev=1e-30)
    model.compile("sgd", RootOfSquare())
    frames = np.zeros((1, 112, 112, 3), "float32")
    exact = model.predict(frames, verbose=0)[0]
    assert np.isnan(Gradients(model)((frames, exact))["softmax_linear/bias"]).all()
    assert np.isfinite(Gradients(model)((frames, exact + 1))["softmax_linear/bias"]).all()
