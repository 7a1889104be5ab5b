"""Small training scripts, each with one fault that keeps it from repeating, and what it is."""

from __future__ import annotations

from dataclasses import dataclass

IMPORTS = """\
import keras
import numpy as np
"""
DATA = """
x = np.random.RandomState(1).rand(192, 8).astype("float32")
y = x.sum(1, keepdims=True)
"""
MODEL = """
model = keras.Sequential([
    keras.Input((8,)),
    keras.layers.Dense(16, "relu", kernel_initializer=keras.initializers.GlorotUniform(seed=1)),
    keras.layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(seed=2)),
])
model.compile("adam", "mse")
"""
FIT = "model.fit(x, y, epochs=3, batch_size=32, verbose=0, shuffle=False)\n"
CLEAN = f"{IMPORTS}keras.utils.set_random_seed(0)\n{DATA}{MODEL}{FIT}"


@dataclass(frozen=True)
class Fault:
    """A script with a fault: the kind of its first difference, and the switch that removes it.

    ``switch`` is empty for a file that changes. ``says`` is part of what the audit prints.
    """

    source: str
    kind: str
    switch: str
    says: str = ""


FAULTS = {
    "unseeded_weights": Fault(
        IMPORTS + DATA + MODEL.replace("seed=1", "").replace("seed=2", "") + FIT,
        "weights",
        "keras_seed",
        "keras.utils.set_random_seed(0)",
    ),
    "unseeded_shuffle": Fault(
        IMPORTS + DATA + MODEL + FIT.replace(", shuffle=False", ""),
        "order",
        "keras_seed",
        "the same examples in another order",
    ),
    "set_order": Fault(
        f"""{IMPORTS}
words = list({{"ant", "bee", "cat", "dog", "emu", "fox", "gnu", "hen"}})
{DATA}
x = x[:, [ord(word[0]) - ord("a") for word in words]]
""".replace('ord(word[0]) - ord("a")', '"abcdefgh".index(word[0])')
        + MODEL
        + FIT,
        "content",
        "hash_seed",
        "sets are made at script.py:",
    ),
    "clock_as_seed": Fault(
        f"""import time
{IMPORTS}
rng = np.random.default_rng(time.time_ns() // 1000)
{DATA}
x = x + rng.normal(size=x.shape).astype("float32")
"""
        + MODEL
        + FIT,
        "content",
        "clock",
        "script.py:5 time.time_ns()",
    ),
    "augmentation_by_random": Fault(
        f"""import random
{IMPORTS}
np.random.seed(0)
{DATA}{MODEL}
class Augmented(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, number):
        part = slice(32 * number, 32 * number + 32)
        return x[part] * random.uniform(0.9, 1.1), y[part]


model.fit(Augmented(), epochs=3, verbose=0, shuffle=False)
""",
        "content",
        "python_seed",
        "random.seed(0)",
    ),
    "generator_without_seed": Fault(
        f"""{IMPORTS}
keras.utils.set_random_seed(0)
rng = np.random.default_rng()
{DATA}
x = x + rng.normal(size=x.shape).astype("float32")
"""
        + MODEL
        + FIT,
        "content",
        "numpy_seed",
        "script.py:5 numpy.random.default_rng()",
    ),
    "nondeterministic_operation": Fault(
        f"""{IMPORTS}
import tensorflow as tf

keras.utils.set_random_seed(0)
boxes = tf.constant(np.random.RandomState(1).rand(600, 4).astype("float32"))


class Crops(keras.layers.Layer):
    def build(self, shape):
        self.image = self.add_weight(
            shape=(1, 64, 64, 8), initializer="glorot_uniform", name="image"
        )

    def call(self, x):
        numbers = tf.zeros(600, tf.int32)
        crops = tf.image.crop_and_resize(self.image.value, boxes, numbers, (14, 14))
        return x * tf.reduce_mean(tf.square(crops))

{DATA}
model = keras.Sequential([keras.Input((8,)), Crops(), keras.layers.Dense(1)])
model.compile("adam", "mse")
{FIT}""",
        "arithmetic",
        "determinism",
        "tf.config.experimental.enable_op_determinism()",
    ),
    "racing_threads": Fault(
        f"""import os
import queue
import threading
import time
{IMPORTS}{DATA}{MODEL}
batches = queue.Queue(4)


def produce(parts):
    for part in parts:
        time.sleep(0.001 * (os.urandom(1)[0] % 32))
        batches.put((x[32 * part : 32 * part + 32], y[32 * part : 32 * part + 32]))


def generate():
    for number in range(3):
        threading.Thread(target=produce, args=([number, number + 3],)).start()
    for _ in range(6):
        yield batches.get()


for epoch in range(3):
    model.fit(generate(), verbose=0)
""",
        "order",
        "threads_in_turn",
        "threading.Thread",
    ),
    "thread_count": Fault(
        f"""from pathlib import Path

turn = Path("turn")
count = 1 + turn.exists()
turn.unlink() if turn.exists() else turn.touch()
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(count)
{IMPORTS}
x = np.random.RandomState(1).rand(2048, 784).astype("float32")
y = x.sum(1, keepdims=True)
uniform = keras.initializers.GlorotUniform
model = keras.Sequential([
    keras.Input((784,)),
    keras.layers.Dense(256, "relu", kernel_initializer=uniform(seed=1)),
    keras.layers.Dense(1, kernel_initializer=uniform(seed=2)),
])
model.compile("adam", "mse")
model.fit(x, y, epochs=3, batch_size=2048, verbose=0, shuffle=False)
""",
        "arithmetic",
        "one_thread",
        "threads.intra-op: 1 and 2",
    ),
    "changing_file": Fault(
        f"""{IMPORTS}
from pathlib import Path

path = Path("runs.txt")
runs = int(path.read_text()) if path.exists() else 0
path.write_text(str(runs + 1))
{DATA}
x = x * (1 + runs)
"""
        + MODEL
        + FIT,
        "content",
        "",
        "runs.txt changed, which a run of the script writes",
    ),
    "global_generator_in_a_callback": Fault(
        f"""{IMPORTS}{DATA}{MODEL}
class Jitter(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate = 1e-3 * np.random.uniform(0.5, 1.5)


{FIT.replace(")", ", callbacks=[Jitter()])")}""",
        "between steps",
        "numpy_seed",
        "adam/learning_rate",
    ),
}
