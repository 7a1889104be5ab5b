"""How long it takes from a command to a list, and to the end of the first training step.

Run as a module it is the command that is timed, and ends once it has told the time.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, NoReturn

from experiments.harness.data import mnist
from experiments.harness.runtime import env_vars, signals
from experiments.harness.spec import Arm, Config, ProcessError, Scale

DOOR = "experiments.reproduce"
MARK = "first step at "


def seconds(
    backend: str, arm: Arm, home: str, scale: Scale, source: str, times: int
) -> dict[str, float]:
    """Return the median seconds, of ``times``, from a command until it has done its first thing.

    ``list``: the door's table of experiments. ``harness``: the door's first step of the arm
    ``home`` (``experiment:arm``) at ``scale``. ``fit``: the first step of the same in a bare
    script. The two take turns, on ``backend``.
    """
    name, _, own = home.partition(":")
    words = [name, "--arm", own, "--seed", "0", "--scale", scale, "--data", source]
    bare = json.dumps([arm.network, arm.optimizer, arm.loss, arm.batch_size, source])
    taken: dict[str, list[float]] = {"list": [], "harness": [], "fit": []}
    for _ in range(times):
        with tempfile.TemporaryDirectory(prefix="startup-") as folder:
            taken["list"].append(_timed(backend, "-m", DOOR, "--list"))
            door = ("harness", *words, "--logdir", folder)
            taken["harness"].append(_timed(backend, "-m", __spec__.name, *door))
        taken["fit"].append(_timed(backend, "-m", __spec__.name, "fit", bare))
    return {what: median(values) for what, values in taken.items()}


def _timed(backend: str, *words: str) -> float:
    """Return the seconds from a command to the time that its last line tells, else to its end."""
    environ = env_vars.original_environ() | {"KERAS_BACKEND": backend}
    began = time.time()
    ended = subprocess.run([sys.executable, *words], env=environ, capture_output=True, text=True)
    now = time.time()
    if ended.returncode:
        raise ProcessError(f"{' '.join(words[:3])} failed: {ended.stderr.strip()[-300:]}")
    last = ended.stdout.splitlines()[-1]
    return (float(last.removeprefix(MARK)) if last.startswith(MARK) else now) - began


def main(words: Sequence[str]) -> None:
    """Come to the end of a first step, by the door or by a bare script."""
    what, *rest = words
    by_door(rest) if what == "harness" else by_script(*json.loads(rest[0]))


def by_door(words: Sequence[str]) -> None:
    """Run the door with these words; each batch heeds an interrupt first, so the second tells."""
    heard = 0

    def check() -> None:
        nonlocal heard
        heard += 1
        if heard == 2:
            ended()

    signals.raise_if_interrupted = check
    sys.argv[1:] = words
    runpy.run_module(DOOR, run_name="__main__")


def by_script(network: Config, optimizer: Any, loss: Any, batch_size: int, source: str) -> None:
    """Build, compile and fit as a script does that knows Keras only."""
    import keras

    import zoo
    import zoo.losses

    class SecondBatch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
            if batch == 1:
                ended()

    data = mnist.load(source)[0]
    model = zoo.build(network["class_name"], **network["config"])
    model.compile(keras.optimizers.get(optimizer), keras.losses.get(loss), metrics=["accuracy"])
    x, y = data.train(slice(None))
    model.fit(x, y, batch_size=batch_size, callbacks=[SecondBatch()], verbose=0)


def ended() -> NoReturn:
    """Tell the time, and end this process."""
    print(f"\n{MARK}{time.time()}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
