"""``Batches``: the order as a function of seed and step, nested arrays, a function of indices."""

import keras
import numpy as np
import pandas as pd
import pytest

from experiments.harness.data.batches import Batches
from experiments.harness.model.variables import to_numpy
from experiments.harness.spec import UserError

X = np.arange(40, dtype="float64").reshape(10, 4)
Y = np.arange(10)


def seen_by(fit_on, epochs: int = 2) -> list[list[float]]:
    """Return the first column of each batch that a model is trained on, in order."""
    seen: list[list[float]] = []

    class Watched(keras.Model):
        def call(self, x):
            return x["a"][:, :1] if isinstance(x, dict) else x[:, :1]

        def train_step(self, *args):
            x, *_ = keras.utils.unpack_x_y_sample_weight(args[-1])
            seen.append(to_numpy(self(x)).ravel().tolist())
            return {"loss": 0.0} if len(args) == 1 else ({"loss": 0.0}, args[0])

    model = Watched()
    model.compile(run_eagerly=True, jit_compile=False)
    model.fit(fit_on, epochs=epochs, verbose=0)
    return seen


def test_a_batch_is_a_function_of_seed_and_step():
    batches, again = Batches(X, Y, batch_size=4, seed=7), Batches(X, Y, batch_size=4, seed=7)
    later = [again[step][1].tolist() for step in (4, 0, 2)]
    assert [batches[step][1].tolist() for step in (4, 0, 2)] == later
    assert len(batches) == 3
    passes = np.concatenate([batches[step][1] for step in range(5)])
    assert sorted(passes[:10]) == sorted(passes[10:]) == [*range(10)]
    assert passes[:10].tolist() != passes[10:].tolist()
    assert batches[0][1].tolist() != Batches(X, Y, batch_size=4, seed=8)[0][1].tolist()
    assert batches[0][0].dtype == "float32"


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has another train_step")
def test_fit_is_given_each_step_of_each_epoch_in_order():
    batches = Batches(X, Y, batch_size=4, seed=7)
    expected = [batches[step][0][:, 0].tolist() for step in range(6)]
    assert seen_by(batches) == expected
    batches.next_epoch = 1
    assert seen_by(batches, epochs=1) == expected[3:]
    function = Batches(lambda i: (X[i].astype("float32"), Y[i]), examples=10, batch_size=4, seed=7)
    assert seen_by(function) == expected
    one_step = Batches(X, Y, batch_size=10, seed=7)
    assert seen_by(one_step) == [one_step[step][0][:, 0].tolist() for step in range(2)]


@pytest.mark.parametrize("size", [4, 10])
def test_the_batch_that_fit_builds_a_model_with_is_not_an_epoch(size):
    batches = Batches(X, Y, batch_size=size, seed=7)

    def untrained():
        model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="zeros")])
        model.compile(keras.optimizers.SGD(1e-3), "mse")
        return model

    fitted, expected = untrained(), untrained()
    fitted.fit(batches, epochs=2, verbose=0)
    fitted.fit(batches, epochs=3, initial_epoch=2, verbose=0)
    for step in range(3 * len(batches)):
        expected.train_on_batch(*batches[step])
    for weights in zip(fitted.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(*weights, rtol=1e-5)


def test_several_inputs_frames_lists_and_weights():
    frame = pd.DataFrame(X, columns=list("abcd"))
    batch = Batches({"a": frame, "b": [X, X]}, [Y, Y], X[:, 0], batch_size=3)[1]
    (x, y, weight) = batch
    assert isinstance(x["b"], tuple)
    assert isinstance(y, tuple)
    indices = y[0]
    for part in (x["a"], *x["b"]):
        np.testing.assert_array_equal(part, X[indices])
    np.testing.assert_array_equal(weight, X[indices, 0])


def test_the_identity_follows_the_content():
    one = Batches({"a": X}, Y).identity()
    assert one == Batches({"a": X.copy()}, Y.copy()).identity()
    changed = X.copy()
    changed[3, 2] += 1
    assert one["content"] != Batches({"a": changed}, Y).identity()["content"]
    assert one["content"] != Batches({"b": X}, Y).identity()["content"]


def test_batches_that_cannot_be_are_user_errors():
    for arguments, options, message in (
        ((X, Y[:5]), {}, "one length, not 5 and 10"),
        ((X, None, Y), {}, "weights need targets"),
        ((X, Y), {"batch_size": 0}, "a whole number as batch_size, not 0"),
        ((X, Y), {"seed": -1}, "a whole number as seed"),
        ((X[:0],), {}, "a whole number as examples, not 0"),
        ((lambda i: i,), {}, "needs examples=N"),
        ((X,), {"examples": 3}, "needs examples=N for a function"),
        ((3,), {}, "arrays with a first axis"),
    ):
        with pytest.raises(UserError, match=message):
            Batches(*arguments, **options)
