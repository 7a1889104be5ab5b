"""Everything that must be set before a backend starts, so that a run repeats to the last bit.

Call ``start()`` before anything imports keras. It reads ``KERAS_BACKEND`` (TensorFlow where unset),
pins what changes bits, and returns the environment: what was set and found. Two runs of one arm,
seed and dataset are bit-identical where their environments are equal.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from experiments.harness.runtime import cpu, env_vars
from experiments.harness.runtime.backends import (
    PACKAGES,
    device_name,
    installed_backend,
    start_jax,
    start_tensorflow,
    start_torch,
)
from experiments.harness.spec import UserError

_environment: dict[str, Any] = {}  # of this process, once its backend is started


def start(
    threads: int | None = None,
    deterministic: bool | None = None,
    settings: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Make this process deterministic, import keras, and return the environment as JSON types.

    ``threads``: keep to that many processors, all by default. ``deterministic``: True by default;
    False does none of it, and the environment says so. ``settings``: environment variables to be
    set before the backend starts. Later calls return the same; one that asks for something else
    is a ``UserError``, as is a backend unknown, not installed or already started, and a device or
    flags with which bits are not promised.
    """
    if not _environment:
        with _uncollected():
            _environment.update(_started(threads, deterministic is not False, settings or {}))
    now = _environment.get("deterministic", True)
    if threads not in (None, _environment["threads"]) or deterministic not in (None, now):
        has = f"{_environment['threads']} threads, {'' if now else 'not '}deterministic"
        raise UserError(f"this process was started with {has}; start a new one for another way")
    asked = env_vars.resolve(_environment["backend"], now, settings or {})
    if not asked.items() <= _environment["settings"].items():
        raise UserError("this process was started with other settings; start a new one for these")
    return _environment


def _started(
    threads: int | None, deterministic: bool, settings: Mapping[str, str]
) -> dict[str, Any]:
    backend = os.environ["KERAS_BACKEND"] = installed_backend()
    if "keras" in sys.modules:
        raise UserError("keras was imported before determinism could be set; start a new process")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    recorded = env_vars.apply(backend, deterministic, settings)
    threads = cpu.pin(threads)
    with _quiet():
        begin = {"tensorflow": start_tensorflow, "jax": start_jax, "torch": start_torch}[backend]
        accelerators = begin(threads, deterministic)
    device = device_name(accelerators, deterministic)
    with _quiet():
        import keras

        if importlib.util.find_spec("tensorflow"):  # Keras would import it later, less quietly
            import tensorflow  # noqa: F401
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    return {
        "backend": backend,
        "device": device,
        "threads": threads,
        "cpu": cpu.describe(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("keras", "numpy", *PACKAGES[backend])},
        "settings": recorded,
    } | ({} if deterministic else {"deterministic": False})


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave what is imported out of garbage collection, which would go through it again and again.

    A fifth of a short run's time. What was there before is left out, too.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the backends' C++ writes to stderr on import to ourselves, unless it fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception:  # an interrupt is no failure
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
