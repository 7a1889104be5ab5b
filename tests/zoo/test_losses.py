import keras
import numpy as np

from zoo.losses import BareLogCrossentropy

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
