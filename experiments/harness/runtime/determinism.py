"""Everything that must be set before a backend starts, so that a run repeats to the last bit.

Call ``start()`` before anything imports keras. It chooses the backend as Keras does (by
``KERAS_BACKEND``, then ``keras.json``, then TensorFlow) and pins what changes bits;
``environment()`` then returns what was set and found. Two runs of one arm, seed and dataset are
bit-identical if their environments are equal.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from experiments.harness.runtime import cpu, env_vars
from experiments.harness.runtime.backends import (
    PACKAGES,
    accelerators,
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
    omitted_flags: Collection[str] = (),
    portable: bool | None = None,
) -> None:
    """Make this process deterministic and import keras; a second call only checks its arguments.

    ``threads``: use that many processors, default all. ``deterministic``: default True; False
    skips all of it, and the environment records that. ``settings``: environment variables to set
    before the backend starts. ``omitted_flags``: default XLA flags to leave out. ``portable``:
    True for bits that are the same on every processor that the portable profile supports, on JAX;
    then threads do not count. Raises ``UserError`` for a backend that is unknown, not installed or
    already started with other arguments, for a device or flags that are not deterministic, for a
    machine that is not portable, and for variables that cut a training short.
    """
    if not _environment:
        with _without_garbage_collection():
            _environment.update(
                _start(
                    threads,
                    deterministic is not False,
                    settings or {},
                    omitted_flags,
                    bool(portable),
                )
            )
    is_deterministic = _environment.get("deterministic", True)
    is_portable = cpu.is_portable(_environment)
    if (
        (threads not in (None, _environment["threads"]) and not is_portable)
        or deterministic not in (None, is_deterministic)
        or portable not in (None, is_portable)
    ):
        kind = "portable" if is_portable else f"{'' if is_deterministic else 'not '}deterministic"
        has = f"{_environment['threads']} threads, {kind}"
        raise UserError(f"this process was started with {has}; other settings need a new process")
    needed = env_vars.resolve(
        _environment["backend"], is_deterministic, settings or {}, omitted_flags, is_portable
    )
    if not needed.items() <= _environment["settings"].items():
        raise UserError("this process was started with other settings; these need a new process")


def environment() -> dict[str, Any]:
    """Return, as JSON types, what decides bits in this process; ``start()`` comes first."""
    if not _environment:
        raise RuntimeError("call determinism.start() before determinism.environment()")
    return _environment


def found() -> dict[str, Any]:
    """Return ``environment()``, or that of a process that started keras without ``start()``.

    The latter is not deterministic.
    """
    if _environment:
        return _environment
    import keras

    backend = keras.backend.backend()
    return _describe(
        backend=backend,
        device=device_name(accelerators(backend), deterministic=False),
        threads=cpu.available_count(),
        settings=env_vars.recorded(backend),
        deterministic=False,
    )


def _describe(
    backend: str, device: str, threads: int, settings: Mapping[str, str], deterministic: bool
) -> dict[str, Any]:
    return {
        "backend": backend,
        "device": device,
        "threads": threads,
        "cpu": cpu.describe(),
        "caches": cpu.caches(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("keras", "numpy", *PACKAGES[backend])},
        "settings": dict(settings),
    } | ({} if deterministic else {"deterministic": False})


def _start(
    threads: int | None,
    deterministic: bool,
    settings: Mapping[str, str],
    omitted_flags: Collection[str],
    portable: bool,
) -> dict[str, Any]:
    env_vars.refuse_limits(settings)
    if portable:
        os.environ.setdefault("KERAS_BACKEND", "jax")
    backend = os.environ["KERAS_BACKEND"] = installed_backend()
    if "keras" in sys.modules:
        raise UserError(
            "keras was imported before determinism could be set; set it before any import of keras "
            "or of what imports keras, in a new process"
        )
    if portable:
        _check_portable(backend, deterministic)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    recorded = env_vars.apply(backend, deterministic, settings, omitted_flags, portable)
    threads = cpu.pin(threads)
    with _quiet():
        start_backend = {
            "tensorflow": start_tensorflow,
            "jax": start_jax,
            "torch": start_torch,
        }[backend]
        try:
            found_accelerators = start_backend(threads, deterministic)
        except RuntimeError as error:  # TensorFlow's, once it has run an operation
            reason = " ".join(str(error).split())
            raise UserError(f"{backend} was used before determinism was set: {reason}") from None
    device = device_name(found_accelerators, deterministic)
    with _quiet():
        import keras

        if importlib.util.find_spec("tensorflow"):  # Keras would import it later, less quietly
            import tensorflow  # noqa: F401
    if portable:
        from experiments.harness.runtime.portable.products import avoid_libraries

        avoid_libraries()
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    environment = _describe(backend, device, threads, recorded, deterministic)
    return _without_machine(environment) if portable else environment


def _without_machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the environment of a portable process, in which the machine does not change bits."""
    profile = {"threads": int(env_vars.PORTABLE["NPROC"]), "cpu": cpu.PORTABLE}
    rest = {name: environment[name] for name in environment if name not in ("caches", "python")}
    return rest | profile


def _check_portable(backend: str, deterministic: bool) -> None:
    """Raise ``UserError`` if the portable profile cannot be had."""
    if backend != "jax":
        raise UserError(f"the portable profile needs KERAS_BACKEND=jax, not {backend}")
    if not deterministic:
        raise UserError("the portable profile is deterministic; leave out --allow-nondeterministic")
    cpu.check_portable()
    loaded = [name for name in ("numpy", "jax") if name in sys.modules]
    if loaded and any(
        os.environ.get(name) != value for name, value in env_vars.LOADED_ONCE.items()
    ):
        raise UserError(
            f"{' and '.join(loaded)} was imported before the portable profile could be set; "
            "start a new process"
        )


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Within the block, disable garbage collection; after it, exempt all objects that exist.

    Traversing what TensorFlow imports again and again takes a fifth of a short run's time.
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
    """Hide what the backends' C++ code writes to stderr on import, unless the import fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as hidden:
        stderr = os.dup(2)
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except Exception:  # an interrupt is not a failure
            hidden.seek(0)
            os.write(stderr, hidden.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
