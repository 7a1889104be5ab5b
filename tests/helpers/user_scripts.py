"""Trainings as users write them, that are recorded, killed and resumed.

    python -m tests.helpers.user_scripts NAME DIRECTORY [--die WHERE EPOCH] [--trap MOMENT FILE NTH]

``--die`` kills the process with SIGKILL at the begin, in a batch, before the record of an epoch, or
at the very end; ``--trap`` while it writes a file (``save_traps``).
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import experiments

if __name__ == "__main__":
    experiments.deterministic(seed=3)

import keras
import numpy as np
from keras import layers

from tests.helpers import save_traps

EPOCHS = 5
X = np.random.default_rng(0).random((60, 8, 8, 1), dtype="float32")
Y = (X.sum((1, 2, 3)) > 32).astype("int64")
EXAMPLES = (X[:12], Y[:12])


def dropout_and_plateau(directory: Path, epochs: int, extra: Sequence[Any]) -> Any:
    """Dropout, ReduceLROnPlateau, EarlyStopping with the best weights, CSVLogger."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    callbacks = [
        experiments.Recorder(directory),
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, min_delta=0.02, cooldown=1),
        keras.callbacks.EarlyStopping("val_loss", patience=4, restore_best_weights=True),
        keras.callbacks.CSVLogger(directory.parent / f"{directory.name}.csv"),
    ]
    batches = experiments.Batches(X, Y, batch_size=16, seed=1)
    return model, model.fit(
        batches,
        epochs=epochs,
        validation_data=EXAMPLES,
        callbacks=[*callbacks, *extra],
        verbose=0,
    )


def schedule_and_averages(directory: Path, epochs: int, extra: Sequence[Any]) -> Any:
    """A LearningRateScheduler that draws from NumPy, averaged weights, a best checkpoint."""
    image = keras.Input((8, 8, 1))
    x = layers.Flatten()(image)
    x = layers.BatchNormalization()(layers.Dense(8, "relu")(x))
    model = keras.Model(image, layers.Dense(2)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.8), loss)
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda _, rate: rate * np.random.uniform(0.8, 1)),
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.ModelCheckpoint(
            directory.parent / f"{directory.name}.best.keras", "loss", save_best_only=True
        ),
    ]
    batches = experiments.Batches(X, Y, np.linspace(0.5, 1, 60), batch_size=16)
    return model, model.fit(
        batches, epochs=epochs, callbacks=[*callbacks, *extra, experiments.Recorder(directory)],
        verbose=0,
    )  # fmt: skip


class Autoencoder(keras.Model):
    """A variational autoencoder with a loss, metrics and random numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = keras.Sequential([layers.Flatten(), layers.Dense(6)])
        self.decoder = keras.Sequential([layers.Dense(64), layers.Reshape((8, 8, 1))])
        self.seeds = keras.random.SeedGenerator(5)
        self.divergence = keras.metrics.Mean("divergence")
        self.error = keras.metrics.Mean("error")

    @property
    def metrics(self) -> list[Any]:
        return [self.divergence, self.error]

    def call(self, x, training=None):
        mean, log_variance = keras.ops.split(self.encoder(x), 2, axis=-1)
        noise = keras.random.normal(keras.ops.shape(mean), seed=self.seeds)
        kl = -0.5 * (1 + log_variance - mean**2 - keras.ops.exp(log_variance))
        return self.decoder(mean + keras.ops.exp(0.5 * log_variance) * noise), kl

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        decoded, kl = y_pred
        error, divergence = keras.ops.mean((x - decoded) ** 2), keras.ops.mean(kl)
        self.error.update_state(error)
        self.divergence.update_state(divergence)
        return error + 0.1 * divergence


def autoencoder(directory: Path, epochs: int, extra: Sequence[Any]) -> Any:
    """A subclassed model that is built by ``fit``, on arrays that are not shuffled."""
    model = Autoencoder()
    model.compile(keras.optimizers.Adam(1e-2))
    callbacks = [experiments.Recorder(directory), *extra]
    return model, model.fit(
        X, batch_size=16, epochs=epochs, shuffle=False, callbacks=callbacks, verbose=0
    )


class Adversarial(keras.Model):
    """Two networks with an optimiser each, trained by a step of their own on TensorFlow."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = keras.Sequential([keras.Input((4,)), layers.Dense(64)])
        self.critic = keras.Sequential(
            [keras.Input((64,)), layers.Dense(8, "relu"), layers.Dropout(0.2), layers.Dense(1)]
        )
        self.seeds = keras.random.SeedGenerator(7)
        self.g_loss, self.d_loss = keras.metrics.Mean("g_loss"), keras.metrics.Mean("d_loss")

    def compile(self, g_optimizer, d_optimizer):
        super().compile()
        self.g_optimizer, self.d_optimizer = g_optimizer, d_optimizer

    def train_step(self, data):
        import tensorflow as tf

        real = tf.reshape(data[0] if isinstance(data, tuple) else data, (-1, 64))
        noise = keras.random.normal((tf.shape(real)[0], 4), seed=self.seeds)
        with tf.GradientTape(persistent=True) as tape:
            fake = self.generator(noise, training=True)
            real_score, fake_score = (self.critic(x, training=True) for x in (real, fake))
            d_loss = tf.reduce_mean(tf.nn.softplus(-real_score) + tf.nn.softplus(fake_score))
            g_loss = tf.reduce_mean(tf.nn.softplus(-fake_score))
        for loss, optimizer, network in (
            (d_loss, self.d_optimizer, self.critic),
            (g_loss, self.g_optimizer, self.generator),
        ):
            weights = network.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self.g_loss.update_state(g_loss)
        self.d_loss.update_state(d_loss)
        return {"g_loss": self.g_loss.result(), "d_loss": self.d_loss.result()}


def adversarial(directory: Path, epochs: int, extra: Sequence[Any]) -> Any:
    """A GAN with its own train_step and optimisers that are built in the first step."""
    model = Adversarial()
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.RMSprop(1e-3))
    callbacks = [experiments.Recorder(directory), *extra]
    batches = experiments.Batches(X, batch_size=16, seed=2)
    return model, model.fit(batches, epochs=epochs, callbacks=callbacks, verbose=0)


def recurrent(directory: Path, epochs: int, extra: Sequence[Any]) -> Any:
    """A stateful LSTM (Keras cannot train one on PyTorch), batches from a function of indices."""
    model = keras.Sequential(
        [
            keras.Input((8, 8), batch_size=10),
            layers.LSTM(6, stateful=keras.backend.backend() != "torch", dropout=0.2),
            layers.Dense(2, "softmax"),
        ]
    )
    model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = experiments.Batches(
        lambda indices: (X[indices, :, :, 0], Y[indices]), examples=60, batch_size=10, seed=4
    )
    callbacks = [experiments.Recorder(directory), *extra]
    return model, model.fit(batches, epochs=epochs, callbacks=callbacks, verbose=0)


def several_inputs(directory: Path, epochs: int, extra: Sequence[Any]) -> Any:
    """Two inputs, two outputs, and a dropout layer that draws from Keras's global generator."""
    left, right = keras.Input((8, 8, 1), name="left"), keras.Input((4,), name="right")
    x = layers.Concatenate()([layers.Flatten()(left), right])
    x = layers.Dropout(0.2)(layers.Dense(8, "relu")(x))
    outputs = {"label": layers.Dense(2, name="label")(x), "sum": layers.Dense(1, name="sum")(x)}
    model = keras.Model({"left": left, "right": right}, outputs)
    losses = {
        "label": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "sum": "mse",
    }
    model.compile("adam", losses, metrics={"label": ["accuracy"]})
    batches = experiments.Batches(
        {"left": X, "right": X[:, 0, :4, 0]},
        {"label": Y, "sum": X.sum((1, 2, 3))},
        batch_size=16,
        seed=6,
    )
    callbacks = [experiments.Recorder(directory), *extra]
    return model, model.fit(batches, epochs=epochs, callbacks=callbacks, verbose=0)


def fine_tuning(directory: Path, epochs: int, extra: Sequence[Any]) -> Any:
    """Two fits with a directory each, the second in mixed precision after a recompilation."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(name="flat"),
            layers.Dense(8, "relu", name="base"),
            layers.Dropout(0.2),
            layers.Dense(2, name="head"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.get_layer("base").trainable = False
    model.compile("adam", loss)
    batches = experiments.Batches(X, Y, batch_size=16)
    first = experiments.Recorder(directory.parent / f"{directory.name}-head")
    model.fit(batches, epochs=2, callbacks=[first], verbose=0)
    model.get_layer("base").trainable = True
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-4), 8.0, 2), loss)
    callbacks = [experiments.Recorder(directory), *extra]
    return model, model.fit(X, Y, epochs=epochs, shuffle=False, callbacks=callbacks, verbose=0)


SCRIPTS: dict[str, Callable[[Path, int, Sequence[Any]], Any]] = {
    "dropout_and_plateau": dropout_and_plateau,
    "schedule_and_averages": schedule_and_averages,
    "autoencoder": autoencoder,
    "adversarial": adversarial,
    "recurrent": recurrent,
    "several_inputs": several_inputs,
    "fine_tuning": fine_tuning,
}
TENSORFLOW_ONLY = ("adversarial",)


class Killer(keras.callbacks.Callback):
    """End the process, or raise ``failure`` if given, at a moment of an epoch."""

    def __init__(self, where: str, epoch: int, failure: type[BaseException] | None = None) -> None:
        super().__init__()
        self.where, self.at, self.failure, self.epoch = where, epoch, failure, -1

    def get_state(self) -> None:
        """It has none."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        self._die("begin")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1:
            self._die("batch")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._die("end")

    def on_train_end(self, logs: Any = None) -> None:
        self._die("last")

    def _die(self, where: str) -> None:
        if where == self.where and (self.epoch == self.at or where == "last"):
            if self.failure:
                raise self.failure
            os.kill(os.getpid(), signal.SIGKILL)


def train(name: str, directory: Path, epochs: int = EPOCHS, extra: Sequence[Any] = ()) -> Any:
    """Train a script from a fresh start; return its model and history."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    return SCRIPTS[name](directory, epochs, extra)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=SCRIPTS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--die", nargs=2)
    parser.add_argument("--trap", nargs=3)
    args = parser.parse_args()
    if args.trap:
        moment, name, nth = args.trap
        save_traps.install(save_traps.Trap(save_traps.kill, moment, name, int(nth)))
    extra = [Killer(args.die[0], int(args.die[1]))] if args.die else []
    SCRIPTS[args.name](args.directory, args.epochs, extra)


if __name__ == "__main__":
    main()
