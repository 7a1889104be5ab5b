"""What is recorded of trainings, in this process on its backend; notices when Keras changes."""

import functools
import json
import random
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.src.trainers.epoch_iterator import EpochIterator

from experiments.auditing.recording import (
    checksums,
    evidence,
    import_hooks,
    internals,
    keras_hooks,
)
from experiments.auditing.recording.checksums import batch_checksums
from experiments.auditing.recording.event_log import EventLog
from experiments.auditing.recording.keras_hooks import Recorder
from experiments.auditing.recording.state import training_variables
from experiments.auditing.recording.trainings import FitTraining, StepTraining
from experiments.harness.model.variables import to_numpy
from experiments.harness.storage.fingerprint import tensor_digest

X = np.random.RandomState(0).rand(20, 3).astype("float32")
Y = X.sum(1, keepdims=True)


@pytest.fixture
def recorder(uninstalled):
    """Install a recorder for the test only."""
    uninstalled.install()
    if keras.backend.backend() == "jax":
        uninstalled.install_jax()
    return uninstalled


@pytest.fixture
def uninstalled(tmp_path, monkeypatch):
    """Yield a recorder that, if it is installed, is so for the test only."""
    for name in (*keras_hooks.WHOLE, "__call__", "stateless_call"):
        monkeypatch.setattr(keras.Model, name, getattr(keras.Model, name))
    for owner in (keras.Optimizer, keras.optimizers.LossScaleOptimizer):
        for name in ("apply", "stateless_apply"):
            monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(keras.Loss, "__call__", keras.Loss.__call__)
    monkeypatch.setattr(EpochIterator, "__init__", EpochIterator.__init__)
    if keras.backend.backend() == "tensorflow":
        from tensorflow.python.eager.polymorphic_function.polymorphic_function import Function

        monkeypatch.setattr(Function, "__call__", Function.__call__)
    if keras.backend.backend() == "jax":
        import jax

        monkeypatch.setattr(jax, "jit", jax.jit)
    log = EventLog(tmp_path / "record.jsonl", None)
    yield Recorder(log, None)
    log.file.close()


def events(recorder, kind=None):
    recorder.log.file.flush()
    assert not recorder.log.failures
    lines = Path(recorder.log.file.name).read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [event for event in found if kind in (None, event["type"])]


def build(**options):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile(**{"optimizer": "adam", "loss": "mse"} | options)
    return model


def expected(x, y, size=8):
    parts = [batch_checksums((x[n : n + size], y[n : n + size])) for n in range(0, len(x), size)]
    return {name: "".join(checksums[name] for checksums, _ in parts) for name in "xy"}


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, number):
        return X[8 * number : 8 * number + 8], Y[8 * number : 8 * number + 8]


def generate():
    while True:
        yield from (Sequence()[number] for number in range(3))


def as_dataset():
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)


@pytest.mark.parametrize(
    "arguments",
    [
        lambda: {"x": X, "y": Y, "batch_size": 8},
        lambda: {"x": Sequence()},
        lambda: {"x": generate(), "steps_per_epoch": 3},
        lambda: {"x": as_dataset()},
        lambda: {"x": as_dataset().repeat(), "steps_per_epoch": 3},
    ],
    ids=["arrays", "PyDataset", "generator", "tf.data", "repeated tf.data"],
)
def test_batches_are_those_that_the_model_was_fed(recorder, arguments):
    build().fit(**arguments(), epochs=2, shuffle=False, verbose=0)
    found = events(recorder, "batches")
    assert [event["count"] for event in found] == [3, 3]
    for event in found:
        assert event["checksums"] == expected(X, Y)
    assert found[0]["examples"] == found[1]["examples"]


def test_the_workers_of_a_dataset_are_threads_of_the_script(tmp_path, monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)
    watched = evidence.Evidence(tmp_path)
    watched.watch_threads()
    build().fit(Sequence(workers=2), verbose=0)
    assert watched.threads[evidence.WORKERS] >= 2


def test_a_shuffled_epoch_has_the_same_examples(recorder):
    keras.utils.set_random_seed(0)
    build().fit(X, Y, batch_size=8, epochs=2, verbose=0)
    first, second = events(recorder, "batches")
    unshuffled = sum(batch_checksums((X[n : n + 8], Y[n : n + 8]))[1] for n in (0, 8, 16)) % 2**64
    assert {first["examples"], second["examples"]} == {f"{unshuffled:016x}"}
    assert first["checksums"] != expected(X, Y)


def test_states_are_those_of_the_epochs_and_validation_is_no_training(recorder):
    model = build(metrics=["mae"])
    model.fit(X, Y, epochs=2, verbose=0, validation_split=0.2)
    states = events(recorder, "state")
    assert [(event["when"], event["epoch"]) for event in states] == [
        ("start", 0),
        ("epoch", 1),
        ("epoch", 2),
    ]
    digests = states[-1]["tensors"]
    for variable in model.trainable_variables:
        assert digests[variable.path] == tensor_digest(to_numpy(variable))
    assert any(path.endswith("/iteration") for path in digests)
    assert not [path for path in digests if "mae" in path]
    assert [*states[-1]["logs"]] == ["loss", "mae", "val_loss", "val_mae"]
    assert len(events(recorder, "begin")) == 1


def test_recording_changes_no_bit_and_draws_nothing(uninstalled):
    def train():
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
        )
        model.compile("adam", "mse")
        model.fit(X, Y, epochs=2, batch_size=8, verbose=0)
        model.train_on_batch(X, Y)
        drawn = random.random(), np.random.rand(), keras.random.uniform((2,))
        return [*model.get_weights(), *map(to_numpy, drawn)]

    unrecorded = train()
    uninstalled.install()
    for a, b in zip(unrecorded, train(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(events(uninstalled, "begin")) == 2


def test_a_model_that_is_built_in_its_first_step_has_a_state_after_it(recorder):
    model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, Y, batch_size=8, verbose=0, shuffle=False)
    first = events(recorder, "state")[0]
    if first["when"] == "first step":  # TensorFlow
        assert first["batch"] == {name: text[:8] for name, text in expected(X, Y).items()}
    assert len([path for path in first["tensors"] if "kernel" in path]) == 2


def test_a_model_that_is_not_built_itself_begins_with_the_weights_of_those_in_it(recorder):
    gan = Gan()  # a GAN or VAE that has no call of its own is never built
    gan.inner.build((None, 3))
    assert not gan.built
    FitTraining(recorder.log, 1, None, gan).train_begins()
    (start,) = events(recorder, "state")
    assert start["when"] == "start"
    assert {*start["tensors"]} >= {weight.path for weight in gan.inner.weights}


def test_weights_that_callbacks_restore_are_recorded_after_them(recorder):
    stopping = keras.callbacks.EarlyStopping(
        "loss", mode="max", restore_best_weights=True, patience=5
    )
    build().fit(X, Y, epochs=3, verbose=0, callbacks=[stopping])
    states = events(recorder, "state")
    assert states[-1]["when"] == "end"
    assert states[-1]["tensors"] != states[-2]["tensors"]


def test_train_on_batch_is_a_step_each_and_all_weights_now_and_then(recorder):
    model, other = build(), build()
    for number in range(5):
        model.train_on_batch(X[number : number + 4], Y[number : number + 4])
        other.train_on_batch(X[:4], Y[:4], return_dict=True)
    recorder.script_ends()
    begins = events(recorder, "begin")
    assert [(event["training"], event["kind"]) for event in begins] == [
        (1, "train_on_batch"),
        (2, "train_on_batch"),
    ]
    steps = [event for event in events(recorder, "step") if event["training"] == 1]
    assert [event["step"] for event in steps] == [1, 2, 3, 4, 5]
    assert steps[1]["checksums"] == batch_checksums((X[1:5], Y[1:5]))[0]
    states = [event for event in events(recorder, "state") if event["training"] == 1]
    assert [event["step"] for event in states] == [0, 1, 2, 3, 4, 5]
    assert states[-1]["when"] == "end"


def custom_loop(model, optimizer, loss, steps=3):
    """Take steps by hand, as each backend's guide does."""
    backend = keras.backend.backend()
    for _ in range(steps):
        if backend == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                value = loss(Y, model(X, training=True))
            gradients = tape.gradient(value, model.trainable_weights)
            optimizer.apply(gradients, model.trainable_weights)
        elif backend == "torch":
            import torch

            model.zero_grad()
            loss(torch.tensor(Y), model(X, training=True)).backward()
            with torch.no_grad():
                gradients = [weight.value.grad for weight in model.trainable_weights]
                optimizer.apply(gradients, model.trainable_weights)
        else:
            import jax

            def compute(trainable, rest):
                prediction, rest = model.stateless_call(trainable, rest, X, training=True)
                return loss(Y, prediction), rest

            state = [v.value for v in model.trainable_variables]
            rest = [v.value for v in model.non_trainable_variables]
            gradients, _ = jax.grad(compute, has_aux=True)(state, rest)
            optimizer.apply(gradients, model.trainable_variables)


def test_a_loop_of_the_scripts_own_is_recorded_at_its_optimiser(recorder):
    model = build()
    custom_loop(model, keras.optimizers.Adam(), keras.losses.MeanSquaredError())
    recorder.script_ends()
    (begin,) = events(recorder, "begin")
    assert begin["kind"] == "apply"
    assert begin["model"].startswith("adam")
    steps = events(recorder, "step")
    assert [event["step"] for event in steps] == [1, 2, 3]
    assert steps[0]["checksums"]
    assert steps[0]["checksums"] == steps[1]["checksums"]
    assert steps[0]["small"] != steps[1]["small"]
    start = events(recorder, "state")[0]
    assert start["step"] == 0
    assert {*start["tensors"]} >= {variable.path for variable in model.trainable_variables}
    assert not recorder.notes


def test_steps_within_a_compiled_function(recorder):
    """Each call is one: of a ``tf.function``, or of ``jax.jit``, which may donate its state."""
    model, optimizer = build(), keras.optimizers.SGD()
    loss = keras.losses.MeanSquaredError()
    optimizer.build(model.trainable_variables)
    initial = {v.path: tensor_digest(to_numpy(v)) for v in model.trainable_variables}
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function
        def step(x, y):
            with tf.GradientTape() as tape:
                value = loss(y, model(x, training=True))
            gradients = tape.gradient(value, model.trainable_weights)
            optimizer.apply(gradients, model.trainable_weights)
            return value

        for number in range(3):
            step(tf.constant(X[number : number + 8]), tf.constant(Y[number : number + 8]))
        assert len({event["logs"]["result 0"] for event in events(recorder, "step")}) == 3
        assert not recorder.notes
    elif keras.backend.backend() == "jax":
        import jax

        @functools.partial(jax.jit, donate_argnums=0)
        def step(state, x, y):
            return jax_step(model, optimizer, loss, state, x, y)

        state = jax_state(model, optimizer)
        for number in range(3):
            _, state = step(state, X[number : number + 8], Y[number : number + 8])
        recorder.script_ends()  # though the variables' own memory is donated
        assert not recorder.notes
    else:
        pytest.skip("PyTorch runs eagerly")
    (begin,) = events(recorder, "begin")
    assert begin["kind"] == {"tensorflow": "tf.function", "jax": "jax.jit"}[keras.backend.backend()]
    assert begin["line"].startswith("test_recording.py:")
    assert not any(import_hooks.GENERATED in path for path in evidence.code(Path(__file__)))
    steps = events(recorder, "step")
    assert [event["checksums"]["x['argument'][0]"] for event in steps] == [
        batch_checksums({"argument": [X[n : n + 8], Y[n : n + 8]]})[0]["x['argument'][0]"]
        for n in range(3)
    ]
    assert len({event["small"] for event in steps}) == 3
    states = events(recorder, "state")
    assert [event["step"] for event in states] == [0, 1, 2, 3]
    assert states[0]["tensors"].items() >= initial.items()
    assert len({json.dumps(event["tensors"]) for event in states}) == 4


def jax_state(model, optimizer):
    """Return what a step of a JAX loop takes and returns."""
    groups = model.trainable_variables, model.non_trainable_variables, optimizer.variables
    return tuple([variable.value for variable in group] for group in groups)


def jax_step(model, optimizer, loss, state, x, y):
    import jax

    trainable, rest, held = state

    def compute(trainable, rest):
        prediction, rest = model.stateless_call(trainable, rest, x)
        return loss(y, prediction), rest

    (value, rest), gradients = jax.value_and_grad(compute, has_aux=True)(trainable, rest)
    return value, (*optimizer.stateless_apply(held, gradients, trainable)[:1], rest, held)


def test_steps_that_are_out_of_sight_are_noted_and_their_weights_recorded(recorder):
    """Such as those within ``jax.lax.scan``: before them, and at the end of the script."""
    if keras.backend.backend() != "jax":
        pytest.skip("JAX")
    import jax

    model, optimizer, loss = build(), keras.optimizers.SGD(), keras.losses.MeanSquaredError()
    optimizer.build(model.trainable_variables)

    def step(state, _):
        return jax_step(model, optimizer, loss, state, X, Y)[::-1]

    (trainable, _, _), _ = jax.lax.scan(step, jax_state(model, optimizer), None, length=3)
    for variable, value in zip(model.trainable_variables, trainable, strict=True):
        variable.assign(value)
    recorder.script_ends()
    (note,) = recorder.notes
    assert note.startswith("test_recording.py:")
    assert "within a compiled function" in note
    start, end = events(recorder, "state")
    assert (start["when"], end["when"], end["step"]) == ("start", "end", None)
    assert start["tensors"] != end["tensors"]


def test_typed_keys_of_jax_have_digests():
    if keras.backend.backend() != "jax":
        pytest.skip("JAX")
    import jax

    first, again, other = (checksums.tensor_digest(jax.random.key(seed)) for seed in (0, 0, 1))
    assert first == again != other


def test_jax_steps_that_are_not_compiled_are_recorded_from_the_scripts_own_state(recorder):
    if keras.backend.backend() != "jax":
        pytest.skip("JAX")
    model, optimizer = build(), keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    trainable = [variable.value for variable in model.trainable_variables]
    state = [variable.value for variable in optimizer.variables]
    for _ in range(2):
        trainable, state = optimizer.stateless_apply(state, trainable, trainable)
    steps = events(recorder, "step")
    assert len(steps) == 2
    assert steps[0]["small"] != steps[1]["small"]


def test_torch_optimizers_are_recorded(recorder):
    if keras.backend.backend() != "torch":
        pytest.skip("PyTorch")
    import torch

    model = build()
    initial = {v.path: tensor_digest(to_numpy(v)) for v in model.trainable_variables}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        torch.mean((model(X) - torch.tensor(Y)) ** 2).backward()
        optimizer.step()
    (begin,) = events(recorder, "begin")
    assert (begin["kind"], begin["model"]) == ("torch.optim", "SGD")
    assert events(recorder, "state")[0]["tensors"].items() >= initial.items()
    steps = events(recorder, "step")
    assert steps[0]["checksums"]
    assert steps[0]["small"] != steps[1]["small"]


class Gan(keras.Model):
    """Two optimisers under names of its own, as Keras's examples have them."""

    def __init__(self):
        super().__init__()
        self.inner = keras.layers.Dense(1)
        self.second_optimizer = keras.optimizers.SGD(momentum=0.9, name="second")

    def call(self, x):
        return self.inner(x)


def test_models_of_many_kinds(recorder):
    first, second = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    joined = keras.layers.Concatenate()([first, second])
    outputs = {"p": keras.layers.Dense(1)(joined), "q": keras.layers.Dense(1)(joined)}
    model = keras.Model([first, second], outputs)
    model.compile("sgd", {"p": "mse", "q": "mae"})
    model.fit({"a": X, "b": X}, {"p": Y, "q": Y}, batch_size=10, verbose=0)
    (found,) = events(recorder, "batches")
    assert {*found["checksums"]} == {"x['a']", "x['b']", "y['p']", "y['q']"}
    gan = Gan()
    gan(X[:1])
    gan.second_optimizer.build(gan.trainable_variables)
    gan.compile("adam", "mse")
    gan.fit(X, Y, sample_weight=np.ones(20), verbose=0)
    last = events(recorder)[-1]
    assert any(path.startswith("second/") for path in last["tensors"])
    assert "sample_weight" in events(recorder, "batches")[-1]["checksums"]


def test_mixed_precision_is_recorded(recorder):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy("float32")
    model.fit(X, Y, verbose=0)
    last = events(recorder)[-1]
    assert any("dynamic_scale" in path for path in last["tensors"])
    assert any("kernel_momentum" in path for path in last["tensors"])


def test_two_variables_of_one_path_are_told_apart():
    layers = [keras.layers.Dense(1, name="same"), keras.layers.Dense(1, name="same")]
    model = keras.Model()
    model.parts = layers
    for layer in layers:
        layer.build((None, 3))
    names = [*training_variables([model])]
    assert names == ["same/kernel", "same/bias", "same/kernel#2", "same/bias#2"]


def test_an_error_of_the_recording_is_not_the_scripts(recorder, monkeypatch):
    monkeypatch.setattr(StepTraining, "record_state", None)
    build().train_on_batch(X, Y)
    (failure,) = recorder.log.failures
    assert failure == "not recorded: TypeError: 'NoneType' object is not callable"


def test_keras_still_has_what_the_internals_follow():
    iterator = EpochIterator(X, Y, batch_size=8)
    assert callable(iterator._get_iterator)
    assert [(begin, end) for begin, end, _ in iterator._enumerate_iterator()] == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]
    keras.random.uniform((1,))  # makes Keras's global generator
    names = [name for name, _ in internals.generator_states()]
    assert "keras" in names
    if keras.backend.backend() == "tensorflow":
        keras.utils.set_random_seed(0)
        assert "tensorflow" in [name for name, _ in internals.generator_states()]
    assert hasattr(build(), "jax_state_sync") == (keras.backend.backend() == "jax")
