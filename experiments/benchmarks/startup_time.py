"""How long a command takes to print a list, and to finish its first training step.

Run as a module, it is the script that is timed: it prints the time after the step, and exits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NoReturn

from experiments.harness.data import mnist
from experiments.harness.runtime import env_vars
from experiments.harness.spec import Arm, Config, ProcessError, Scale

MARK = "first step at "


def measure(
    arm_id: str, scale: Scale, arm: Arm, backend: str, source: str, repeats: int
) -> dict[str, float]:
    """Return the median seconds that processes take from their start to their first result.

    ``list``: the table of ``reproduce --list``. ``harness``: the first step of the arm ``arm_id``
    (``experiment:arm``) by ``experiments.run``. ``fit``: the first step of ``arm`` in a script that
    uses Keras only. They take turns.
    """
    experiment, _, name = arm_id.partition(":")
    run = {"experiment": experiment, "arm": name, "scale": scale, "source": source}
    fit = {
        "network": arm.network,
        "optimizer": arm.optimizer,
        "loss": arm.loss,
        "batch_size": arm.batch_size,
        "source": source,
    }
    seconds: dict[str, list[float]] = {"list": [], "harness": [], "fit": []}
    for _ in range(repeats):
        seconds["list"].append(time_process(backend, "-m", "experiments.reproduce", "--list"))
        with tempfile.TemporaryDirectory(prefix="startup-") as logdir:
            seconds["harness"].append(time_first_step(backend, "harness", run | {"logdir": logdir}))
        seconds["fit"].append(time_first_step(backend, "fit", fit))
    return {name: median(values) for name, values in seconds.items()}


def time_first_step(backend: str, method: str, arguments: Config) -> float:
    """Return the seconds from the start of this module's script to the end of its first step."""
    return time_process(backend, "-m", __spec__.name, method, json.dumps(arguments))


def time_process(backend: str, *argv: str) -> float:
    """Return the seconds from a process's start to the time that it prints, else to its end."""
    environ = env_vars.original_environ() | {"KERAS_BACKEND": backend}
    start = time.time()
    completed = subprocess.run([sys.executable, *argv], env=environ, capture_output=True, text=True)
    end = time.time()
    if completed.returncode:
        raise ProcessError(f"{' '.join(argv[:3])} failed: {completed.stderr.strip()[-300:]}")
    last = completed.stdout.splitlines()[-1]
    return (float(last.removeprefix(MARK)) if last.startswith(MARK) else end) - start


def main(argv: Sequence[str]) -> None:
    """Train one step by the method ``argv[0]``, with the JSON object ``argv[1]`` as arguments."""
    method, arguments = argv
    train: Callable[..., None] = train_with_harness if method == "harness" else train_with_keras
    train(**json.loads(arguments))


def train_with_harness(experiment: str, arm: str, scale: Scale, source: str, logdir: str) -> None:
    """Run an arm of an experiment, as a script that uses the harness does."""
    import experiments
    from experiments.harness.runtime import determinism

    determinism.start()  # before the callback's class imports keras
    experiments.run(
        experiment,
        arms=[arm],
        seeds=[0],
        scale=scale,
        data=[source],
        logdir=logdir,
        callbacks=[first_step_callback()],
    )


def train_with_keras(
    network: Config, optimizer: Config, loss: Config, batch_size: int, source: str
) -> None:
    """Build, compile and fit, as a script that uses Keras only does."""
    import keras

    import zoo
    import zoo.losses

    dataset = mnist.load(source)[0]
    model = zoo.build(network["class_name"], **network["config"])
    model.compile(keras.optimizers.get(optimizer), keras.losses.get(loss), metrics=["accuracy"])
    x, y = dataset.train(slice(None))
    model.fit(x, y, batch_size=batch_size, callbacks=[first_step_callback()], verbose=0)


def first_step_callback() -> Any:
    """Return a Keras callback that calls ``finish`` when the second batch begins."""
    import keras

    class FirstStepCallback(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
            if batch == 1:
                finish()

    return FirstStepCallback()


def finish() -> NoReturn:
    """Print the time and end this process at once."""
    print(f"\n{MARK}{time.time()}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
