"""Apply switches to the script's process: each pins one thing that may change its bits.

``experiments.auditing.switches`` lists them; what an environment variable does is done there.
"""

from __future__ import annotations

import builtins
import functools
import os
import random
import sys
import time
import types
from collections.abc import Callable
from typing import Any

from experiments.auditing.recording.import_hooks import (
    ImportHooks,
    Note,
    called_by_script,
    script_line,
)
from experiments.auditing.recording.thread_switch import run_threads_in_turn

FROZEN = 1_700_000_000.0  # seconds since 1970
TICK = 0.001  # seconds; a loop that waits for a time ends
Calls = dict[str, dict[str, None]]  # what the script called, and the lines from which


def apply(names: list[str], hooks: ImportHooks, calls: Calls) -> None:
    """Apply the switches now, or as soon as the package that they need is imported."""
    for name in names:
        if action := ACTIONS.get(name):
            action(hooks, functools.partial(_note, calls, name))


def _note(calls: Calls, switch: str, what: str) -> None:
    calls.setdefault(switch, {}).setdefault(f"{script_line()} {what}".strip())


def seed_python(_hooks: ImportHooks, note: Note) -> None:
    """Seed Python's generator, and those that the script makes or seeds without a seed."""
    random.seed(0)
    seed, unseeded = random.seed, random.Random

    def seeded(a: Any = None, version: int = 2) -> None:
        if a is None and called_by_script():
            note("random.seed()")
            a = 0
        seed(a, version)

    class Random(unseeded):  # type: ignore[valid-type, misc]
        def __init__(self, x: Any = None) -> None:
            if x is None and called_by_script():
                note("random.Random()")
                x = 0
            super().__init__(x)

    random.seed, random.Random = seeded, Random  # type: ignore[misc]


def seed_numpy(hooks: ImportHooks, note: Note) -> None:
    """Seed NumPy's generator, and those that the script makes without a seed."""

    def act() -> None:
        import numpy as np

        np.random.seed(0)
        for name in ("seed", "default_rng", "RandomState"):
            setattr(np.random, name, _with_default_seed(getattr(np.random, name), name, note))

    hooks.after("numpy", act)


def _with_default_seed(original: Any, name: str, note: Note) -> Any:
    """Return a function or class of NumPy's that takes 0 for no seed, if the script calls it."""

    def seeded(seed: Any = None) -> Any:
        if seed is None and called_by_script():
            note(f"numpy.random.{name}()")
            seed = 0
        return original(seed)

    if not isinstance(original, type):
        return seeded

    class Seeded(original):
        def __init__(self, seed: Any = None) -> None:
            if seed is None and called_by_script():
                note(f"numpy.random.{name}()")
                seed = 0
            super().__init__(seed)

    return Seeded


def seed_keras(hooks: ImportHooks, _note: Note) -> None:
    """Seed everything that Keras draws from."""

    def act() -> None:
        import keras

        keras.utils.set_random_seed(0)

    hooks.after("keras", act)


def freeze_clock(_hooks: ImportHooks, note: Note) -> None:
    """Let the script, but no library, read a clock that starts at one time in every process."""
    import datetime

    ticks = iter(range(sys.maxsize))

    def frozen(name: str, original: Callable[[], Any], convert: Callable[[float], Any]) -> Any:
        def read() -> Any:
            if not called_by_script():
                return original()
            note(f"time.{name}()")
            return convert(FROZEN + TICK * next(ticks))

        return read

    for name in ("time", "perf_counter", "monotonic"):
        setattr(time, name, frozen(name, getattr(time, name), float))
        name = f"{name}_ns"
        setattr(time, name, frozen(name, getattr(time, name), lambda t: int(t * 1e9)))
    real = datetime.datetime

    class FrozenDatetime(real):  # type: ignore[valid-type, misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            note("datetime.now()")
            return real.fromtimestamp(FROZEN + TICK * next(ticks), tz)

    module = types.ModuleType("datetime")
    module.__dict__.update(vars(datetime), datetime=FrozenDatetime)
    import_module = builtins.__import__

    def import_for_script(name: str, *args: Any, **kwargs: Any) -> Any:
        # Only for the script: C extensions crash on a datetime that is another class.
        if name == "datetime" and called_by_script():
            return module
        return import_module(name, *args, **kwargs)

    builtins.__import__ = import_for_script


def use_deterministic_operations(hooks: ImportHooks, _note: Note) -> None:
    """Switch the backend's deterministic operations on; JAX's is an environment variable."""

    def act_on_tensorflow() -> None:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()

    def act_on_torch() -> None:
        import torch

        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False

    hooks.after("tensorflow", act_on_tensorflow)
    hooks.after("torch", act_on_torch)


def use_one_thread(hooks: ImportHooks, note: Note) -> None:
    """Pin the process to one processor and size the backend's pools by it, for good."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])

    def ignore(what: str) -> Callable[[int], None]:
        return lambda count: note(f"{what}({count})")

    def act_on_tensorflow() -> None:
        import tensorflow as tf

        for kind in ("intra", "inter"):
            name = f"set_{kind}_op_parallelism_threads"
            getattr(tf.config.threading, name)(1)
            setattr(tf.config.threading, name, ignore(f"tf.config.threading.{name}"))

    def act_on_torch() -> None:
        import torch

        torch.set_num_threads(1)
        for name in ("set_num_threads", "set_num_interop_threads"):
            setattr(torch, name, ignore(f"torch.{name}"))

    hooks.after("tensorflow", act_on_tensorflow)
    hooks.after("torch", act_on_torch)


def avoid_onednn(hooks: ImportHooks, _note: Note) -> None:
    """Keep PyTorch from oneDNN; TensorFlow's is an environment variable."""

    def act_on_torch() -> None:
        import torch

        mkldnn: Any = torch.backends.mkldnn  # its types allow no assignment
        mkldnn.enabled = False

    hooks.after("torch", act_on_torch)


def avoid_xla(hooks: ImportHooks, _note: Note) -> None:
    """Compile every model with ``jit_compile=False``."""

    def act() -> None:
        import keras

        original = keras.Model.compile

        @functools.wraps(original)
        def compile_without(self: Any, *args: Any, **kwargs: Any) -> Any:
            return original(self, *args, **kwargs | {"jit_compile": False})

        keras.Model.compile = compile_without

    hooks.after("keras", act)


ACTIONS: dict[str, Callable[[ImportHooks, Note], None]] = {
    "keras_seed": seed_keras,
    "python_seed": seed_python,
    "numpy_seed": seed_numpy,
    "clock": freeze_clock,
    "threads_in_turn": run_threads_in_turn,
    "determinism": use_deterministic_operations,
    "one_thread": use_one_thread,
    "onednn_off": avoid_onednn,
    "xla_off": avoid_xla,
}
