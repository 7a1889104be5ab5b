import cv2
import keras
import numpy as np
import pytest

from zoo.layers import AlwaysDropout, LocalResponseNormalization, Rescaled


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize(
    ("depth_radius", "bias", "alpha", "beta"), [(2, 1.0, 2e-5, 0.75), (4, 2.0, 0.5, 0.5)]
)
def test_lrn_equals_tensorflows(depth_radius, bias, alpha, beta):
    tf = pytest.importorskip("tensorflow")
    x = 10 * random(2, 5, 5, 12)
    ours = LocalResponseNormalization(depth_radius, bias, alpha, beta)(x)
    theirs = tf.nn.local_response_normalization(x, depth_radius, bias, alpha, beta)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(ours), theirs.numpy(), rtol=2e-6)


@pytest.mark.parametrize("size", [67, 227])
def test_resizing_equals_opencvs_bilinear(size):
    x = np.random.default_rng(0).random((3, 28, 28, 1), dtype="float32")
    ours = keras.layers.Resizing(size, size)(x)
    theirs = np.stack([cv2.resize(image, (size, size)) for image in x])[..., None]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(ours), theirs, atol=5e-6)


def test_always_dropout_drops_whatever_training_says():
    layer, x = AlwaysDropout(0.5), np.ones((1, 1000), "float32")
    for training in (False, True, None):
        y = keras.ops.convert_to_numpy(layer(x, training=training))
        assert set(np.unique(y)) == {0.0, 2.0}
        assert 400 < (y == 0).sum() < 600


def test_rescaled_multiplies_and_survives_serialisation():
    inner = keras.initializers.TruncatedNormal(stddev=0.5, seed=3)
    scaled = keras.initializers.deserialize(keras.initializers.serialize(Rescaled(inner, 4.0)))
    values, wanted = scaled((50, 3)), 4.0 * inner.clone()((50, 3))
    np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (values, wanted)))
