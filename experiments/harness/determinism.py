"""Everything that must be set before a backend starts, so that a run repeats to the last bit.

Call ``start()`` before anything imports keras. It reads ``KERAS_BACKEND`` (TensorFlow where unset),
pins what changes bits, and returns the environment: what was set and found. Two runs of one arm,
seed and dataset are bit-identical where their environments are equal.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from experiments.harness.spec import UserError, nearest

PACKAGES = {  # backend: the distributions whose versions decide the bits
    "tensorflow": ("tensorflow",),
    "jax": ("jax", "jaxlib"),
    "torch": ("torch",),
}
BEFORE = {  # environment variables that are read once, when the backend starts
    "tensorflow": {"TF_DETERMINISTIC_OPS": "1", "TF_ENABLE_ONEDNN_OPTS": "1"},
    "jax": {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"},
    "torch": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
}


@cache
def start() -> dict[str, Any]:
    """Make this process deterministic, import keras, and return the environment as JSON types.

    Raises ``UserError`` where the backend is unknown, not installed, or has already started.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend not in PACKAGES:
        raise UserError(f"KERAS_BACKEND={backend} is no backend{nearest(backend, PACKAGES)}")
    if importlib.util.find_spec(backend) is None:
        raise UserError(
            f"{backend} is not installed: pip install -c constraints.txt '.[{backend}]'"
        )
    if "keras" in sys.modules:
        raise UserError("keras was imported before determinism could be set; start a new process")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    for name, value in BEFORE[backend].items():
        given = os.environ.get(name, "") if name == "XLA_FLAGS" else ""
        os.environ[name] = given if value in given else f"{given} {value}".strip()
    threads = _processors()
    with _quiet():
        device = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[backend](threads)
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
        "cpu": _cpu(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("keras", "numpy", *PACKAGES[backend])},
        "settings": {name: os.environ[name] for name in BEFORE[backend]},
    }


def random_state() -> dict[str, NDArray[Any]]:
    """Return, by path, what the backend's own generators hold that no Keras variable does.

    Empty but on PyTorch, where Keras's dropout without a seed draws from the global generators.
    """
    return {path: get() for path, (get, _) in _generators().items()}


def restore_random_state(tensors: Mapping[str, NDArray[Any]]) -> None:
    """Put back what ``random_state()`` returned."""
    for path, (_, put) in _generators().items():
        put(tensors[path])


def _generators() -> dict[str, tuple[Callable[[], Any], Callable[[Any], None]]]:
    if os.environ["KERAS_BACKEND"] != "torch":
        return {}
    import torch

    def gpu(index: int) -> tuple[Callable[[], Any], Callable[[Any], None]]:
        def put(state: Any) -> None:
            torch.cuda.set_rng_state(torch.from_numpy(state), index)

        return lambda: torch.cuda.get_rng_state(index).numpy(), put

    cpu = (
        lambda: torch.get_rng_state().numpy(),
        lambda state: torch.set_rng_state(torch.from_numpy(state)),
    )
    gpus = {f"generator/cuda{k}": gpu(k) for k in range(torch.cuda.device_count())}
    return {"generator/cpu": cpu, **gpus}


def _tensorflow(threads: int) -> str:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details
    return _device(details(gpu).get("device_name", "GPU") for gpu in gpus)


def _jax(_threads: int) -> str:
    import jax

    return _device(device.device_kind for device in jax.devices() if device.platform != "cpu")


def _torch(threads: int) -> str:
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    return _device(map(torch.cuda.get_device_name, range(torch.cuda.device_count())))


def _device(accelerators: Iterable[str]) -> str:
    return ", ".join(accelerators) or "cpu"


def _processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> str:
    """Return the processor's model and a hash of its features, such as vector extensions."""
    facts: dict[str, str] = {}
    with suppress(OSError):  # elsewhere than on Linux the platform's own words must do
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    features = hashlib.sha256(facts.get("flags", "").encode()).hexdigest()[:8]
    return f"{facts.get('model name', platform.processor())} {platform.machine()} {features}"


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
