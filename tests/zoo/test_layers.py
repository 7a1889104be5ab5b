import cv2
import keras
import numpy as np
import pytest

from experiments.harness.model.variables import to_numpy
from tests.helpers.environment import ENVIRONMENT
from zoo import layers
from zoo.layers import AlwaysDropout, LocalResponseNormalization, MaxPooling2D, Rescaled

only_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="a pool of slices is JAX's")


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
    np.testing.assert_allclose(to_numpy(ours), theirs.numpy(), rtol=2e-6)


@pytest.mark.parametrize("size", [67, 227])
def test_resizing_equals_opencvs_bilinear(size):
    x = np.random.default_rng(0).random((3, 28, 28, 1), dtype="float32")
    ours = keras.layers.Resizing(size, size)(x)
    theirs = np.stack([cv2.resize(image, (size, size)) for image in x])[..., None]
    np.testing.assert_allclose(to_numpy(ours), theirs, atol=5e-6)


def test_always_dropout_drops_whatever_training_says():
    layer, x = AlwaysDropout(0.5), np.ones((1, 1000), "float32")
    for training in (False, True, None):
        y = to_numpy(layer(x, training=training))
        assert set(np.unique(y)) == {0.0, 2.0}
        assert 400 < (y == 0).sum() < 600


def test_rescaled_multiplies_and_survives_serialisation():
    inner = keras.initializers.TruncatedNormal(stddev=0.5, seed=3)
    scaled = keras.initializers.deserialize(keras.initializers.serialize(Rescaled(inner, 4.0)))
    values, wanted = scaled((50, 3)), 4.0 * inner.clone()((50, 3))
    np.testing.assert_array_equal(*map(to_numpy, (values, wanted)))


def value_and_gradient(layer, x: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Return what ``layer`` makes of ``x``, and the gradient of its sum times ``weights``."""
    backend = keras.backend.backend()
    if backend == "jax":
        jax = pytest.importorskip("jax")
        value, back = jax.vjp(layer, x)
        (gradient,) = back(weights)
    elif backend == "torch":
        x = keras.ops.convert_to_tensor(x).requires_grad_()
        value = layer(x)
        (value * keras.ops.convert_to_tensor(weights)).sum().backward()
        gradient = x.grad
    else:
        tf = pytest.importorskip("tensorflow")
        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = layer(x)
        gradient = tape.gradient(value, x, weights)
    return [to_numpy(tensor) for tensor in (value, gradient)]


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("pool", "strides"), [(2, None), (3, 2), ((1, 3), (2, 1))])
@pytest.mark.parametrize("size", [7, 8])
def test_a_pool_of_slices_has_kerass_values_and_gradients(
    monkeypatch, padding, pool, strides, size
):
    draw = np.random.default_rng(0)
    x = draw.integers(-2, 3, (2, size, size + 3, 4)).astype("float32")  # ties in most windows
    theirs = keras.layers.MaxPooling2D(pool, strides, padding)
    weights = draw.integers(1, 9, theirs.compute_output_shape(x.shape)).astype("float32")
    monkeypatch.setattr(layers, "scatters", lambda: True)
    ours = MaxPooling2D(pool, strides, padding)
    for found, wanted in zip(
        value_and_gradient(ours, x, weights), value_and_gradient(theirs, x, weights), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


@only_jax
def test_a_pool_of_slices_keeps_nan_and_negative_infinity(monkeypatch):
    x = random(1, 8, 8, 3)
    x[0, 1, 2], x[0, 5, 5], x[0, 6:] = np.nan, np.inf, -np.inf
    wanted = keras.layers.MaxPooling2D(2, 2)(x)
    monkeypatch.setattr(layers, "scatters", lambda: True)
    found = MaxPooling2D(2, 2)(x)
    np.testing.assert_array_equal(*map(to_numpy, (found, wanted)))


@only_jax
def test_the_gradient_of_a_pool_of_slices_scatters_nothing(monkeypatch):
    jax = pytest.importorskip("jax")

    def compiled(layer) -> str:
        total = jax.grad(lambda x: layer(x).sum())
        return jax.jit(total).lower(random(1, 9, 9, 2)).as_text()

    assert "scatter" in compiled(MaxPooling2D(3, 2))
    monkeypatch.setattr(layers, "scatters", lambda: True)
    assert not any(word in compiled(MaxPooling2D(3, 2)) for word in ("scatter", "gather"))


def test_the_pool_is_kerass_own_on_a_cpu_and_in_its_config():
    assert layers.scatters() == (ENVIRONMENT["backend"] == "jax" and ENVIRONMENT["device"] != "cpu")
    config = MaxPooling2D(3, 2, name="pool1").get_config()
    assert config == keras.layers.MaxPooling2D(3, 2, name="pool1").get_config()
    assert MaxPooling2D.from_config(config).pool_size == (3, 3)
