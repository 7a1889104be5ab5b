import keras
import numpy as np

from experiments.harness.model.variables import to_numpy
from zoo import mnist_cnn
from zoo.optimizers import AdamOfCopies


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, 28, 28, 1), dtype="float32")


def wide_and_twin() -> tuple[keras.Model, keras.Model]:
    """Return a network whose units are equal, and its twin of width one, with random weights."""
    wide = mnist_cnn.build(widths=(3, 4, 5))
    twin = mnist_cnn.build(widths=(1, 1, 1), stands_for=(3, 4, 5))
    rng = np.random.default_rng(0)
    for layer in ("conv1", "conv2", "fc1", "output"):
        one = [rng.normal(size=v.shape).astype("float32") for v in twin.get_layer(layer).weights]
        twin.get_layer(layer).set_weights(one)
        kernel = wide.get_layer(layer).kernel
        *window, inputs, units = kernel.shape
        times = [1] * len(window) + [1, units // one[0].shape[-1]]
        if layer == "fc1":  # its inputs are 7x7 places of equal channels
            equal = np.repeat(one[0].reshape(49, 1, 1), 4, axis=1).reshape(inputs, 1)
        else:
            equal = np.repeat(one[0], inputs // one[0].shape[-2], axis=-2)
        bias = np.repeat(one[1], units // one[1].shape[0])
        wide.get_layer(layer).set_weights([np.tile(equal, times), bias])
    return wide, twin


def test_the_width_one_twin_is_the_same_function_as_a_wide_network_of_equal_units():
    wide, twin = wide_and_twin()
    x = images(4)
    np.testing.assert_allclose(wide.predict(x, verbose=0), twin.predict(x, verbose=0), rtol=1e-4)


def test_adam_of_copies_moves_the_twin_as_adam_moves_the_wide_network():
    wide, twin = wide_and_twin()
    adam = {"learning_rate": 0.01, "epsilon": 0.3}  # as large as the gradients
    copies = {"conv1/kernel": 3, "conv1/bias": 3, "conv2/kernel": 12, "conv2/bias": 4}
    copies |= {"fc1/kernel": 20, "fc1/bias": 5, "output/kernel": 5}
    before = twin.get_weights()

    def after_two_steps(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> np.ndarray:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
        model.compile(again, loss)
        model.fit(images(4), np.arange(4), batch_size=4, epochs=2, shuffle=False, verbose=0)
        return model.predict(images(4), verbose=0)

    expected = after_two_steps(wide, keras.optimizers.Adam(**adam))
    np.testing.assert_allclose(
        after_two_steps(twin, AdamOfCopies(copies, **adam)), expected, rtol=1e-3
    )
    twin.set_weights(before)
    otherwise = after_two_steps(twin, keras.optimizers.Adam(**adam))
    assert np.abs(otherwise - expected).max() > 0.01 * np.abs(expected).max()


def test_rounding_noise_is_of_the_size_of_a_rounding_and_only_while_training():
    quiet, noisy = (mnist_cnn.build(widths=(2, 2, 4), rounding_noise=n) for n in (0.0, 1e-7))
    noisy.set_weights(quiet.get_weights())
    x = images(8)
    still = to_numpy(quiet(x, training=True))
    np.testing.assert_array_equal(noisy.predict(x, verbose=0), quiet.predict(x, verbose=0))
    moved = to_numpy(noisy(x, training=True))
    assert not np.array_equal(moved, still)
    np.testing.assert_allclose(moved, still, rtol=1e-4, atol=1e-6)
