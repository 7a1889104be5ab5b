import keras
import numpy as np
import pytest

from experiments.harness.data.keras_input import evaluation_input, training_input

X, Y = np.arange(20, dtype="float32").reshape(10, 2), np.arange(10)


def model() -> keras.Model:
    built = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    built.compile("sgd", "mse")
    return built


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data is TensorFlow's")
@pytest.mark.parametrize(
    ("dataset", "sizes"),
    [
        (lambda: training_input(iter([(X, Y)] * 3)), [10] * 3),
        (lambda: evaluation_input((X, Y), 5), [5, 5]),
    ],
)
def test_tf_data_does_not_autotune(dataset, sizes):
    assert dataset().options().autotune.enabled is False
    assert [len(x) for x, _ in dataset()] == sizes


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data is TensorFlow's")
def test_batches_drawn_several_at_a_time_stay_in_order():
    batches = [(np.full((2, 3), number, "float32"), np.arange(2)) for number in range(37)]
    received = [(x.numpy(), y.numpy()) for x, y in training_input(iter(batches))]
    for (x, y), (expected_x, expected_y) in zip(received, batches, strict=True):
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_array_equal(y, expected_y)


def test_keras_evaluates_and_fits_them():
    examples, built = (X, Y, Y / 9), model()
    plain = built.evaluate(X, Y, 4, 0, Y / 9)
    assert built.evaluate(evaluation_input(examples, 4), verbose=0) == plain
    history = built.fit(
        training_input(examples for _ in range(4)),
        steps_per_epoch=2,
        epochs=2,
        shuffle=False,
        validation_data=evaluation_input(examples, 4),
        verbose=0,
    ).history
    assert len(history["loss"]) == len(history["val_loss"]) == 2
