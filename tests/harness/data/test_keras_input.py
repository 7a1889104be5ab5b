import keras
import numpy as np
import pytest

from experiments.harness.data.keras_input import Arrays, Batches

X, Y = np.arange(20, dtype="float32").reshape(10, 2), np.arange(10)


def model() -> keras.Model:
    built = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    built.compile("sgd", "mse")
    return built


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data is TensorFlow's")
@pytest.mark.parametrize("fed", [Batches(iter([(X, Y)] * 3)), Arrays((X, Y), 5)])
def test_tf_data_does_not_tune_itself(fed):
    dataset = fed.get_tf_dataset()
    assert dataset.options().autotune.enabled is False
    assert [len(x) for x, _ in dataset] == ([10] * 3 if isinstance(fed, Batches) else [5, 5])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data is TensorFlow's")
def test_batches_that_are_asked_for_together_keep_their_order():
    numbered = [(np.full((2, 3), number, "float32"), np.arange(2)) for number in range(37)]
    fed = [(x.numpy(), y.numpy()) for x, y in Batches(iter(numbered)).get_tf_dataset()]
    for found, given in zip(fed, numbered, strict=True):
        np.testing.assert_array_equal(found[0], given[0])
        np.testing.assert_array_equal(found[1], given[1])


def test_keras_takes_them_where_it_takes_data():
    fed, plain, built = Arrays((X, Y, Y / 9), 4), (X, Y, Y / 9), model()
    assert built.evaluate(fed, verbose=0) == built.evaluate(*plain[:2], 4, 0, plain[2])
    history = built.fit(
        Batches(iter([plain] * 4)),
        steps_per_epoch=2,
        epochs=2,
        validation_data=fed,
        verbose=0,
    ).history
    assert len(history["loss"]) == len(history["val_loss"]) == 2
