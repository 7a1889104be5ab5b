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
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from experiments.harness import machine, switches
from experiments.harness.spec import UserError, nearest

PACKAGES = {  # backend: the distributions whose versions decide the bits
    "tensorflow": ("tensorflow",),
    "jax": ("jax", "jaxlib"),
    "torch": ("torch",),
}
PROMISED = {
    "gpu",
    "cuda",
    "rocm",
}  # accelerators on which backends can be told to be deterministic
FORGO = "--allow-nondeterministic goes without determinism"
REFUSED = re.compile(  # how the backends say that an operation cannot keep it
    r"[^\n]*(deterministic (\w+ )?implementation|determinism is (enabled|required)"
    r"|deterministic behavior was enabled)[^\n]*",
    re.IGNORECASE,
)

Accelerators = list[tuple[str, str]]  # kind, name

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
    asked = switches.chosen(_environment["backend"], now, settings or {})
    if not asked.items() <= _environment["settings"].items():
        raise UserError("this process was started with other settings; start a new one for these")
    return _environment


def installed_backend() -> str:
    """Return the backend that ``KERAS_BACKEND`` chooses; ``UserError`` where it is not here."""
    backend = switches.backend()
    if backend not in PACKAGES:
        raise UserError(f"KERAS_BACKEND={backend} is no backend{nearest(backend, PACKAGES)}")
    if importlib.util.find_spec(backend) is None:
        raise UserError(
            f"{backend} is not installed: pip install -c constraints.txt -e '.[{backend}]'"
        )
    return backend


def _started(
    threads: int | None, deterministic: bool, settings: Mapping[str, str]
) -> dict[str, Any]:
    backend = os.environ["KERAS_BACKEND"] = installed_backend()
    if "keras" in sys.modules:
        raise UserError("keras was imported before determinism could be set; start a new process")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    recorded = switches.set_up(backend, deterministic, settings)
    threads = machine.pin(threads)
    with _quiet():
        begin = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[backend]
        accelerators = begin(threads, deterministic)
    device = _device(accelerators, deterministic)
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
        "cpu": machine.cpu(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("keras", "numpy", *PACKAGES[backend])},
        "settings": recorded,
    } | ({} if deterministic else {"deterministic": False})


@contextmanager
def explained() -> Iterator[None]:
    """Turn a backend's error that an operation cannot be deterministic into a ``UserError``."""
    try:
        yield
    except Exception as error:  # each backend has its own
        found = REFUSED.search(str(error))
        if found is None:
            raise
        raise UserError(f"{found[0].strip()[:300]}; {FORGO}") from error


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


def _tensorflow(threads: int, deterministic: bool) -> Accelerators:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    details = tf.config.experimental.get_device_details
    devices = [d for d in tf.config.list_physical_devices() if d.device_type != "CPU"]
    metal = platform.system() == "Darwin"  # whose GPUs TensorFlow calls GPU, too
    return [
        ("mps" if metal else d.device_type.lower(), details(d).get("device_name", d.device_type))
        for d in devices
    ]


def _jax(_threads: int, _deterministic: bool) -> Accelerators:
    import jax

    return [(d.platform, d.device_kind) for d in jax.devices() if d.platform != "cpu"]


def _torch(threads: int, deterministic: bool) -> Accelerators:
    import torch

    torch.set_num_threads(threads)
    if deterministic:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    others = [name for name in ("mps", "xpu") if getattr(torch, name).is_available()]
    gpus = map(torch.cuda.get_device_name, range(torch.cuda.device_count()))
    return [*(("cuda", name) for name in gpus), *((name, name) for name in others)]


def _device(accelerators: Accelerators, deterministic: bool) -> str:
    """Return the devices' names; ``UserError`` where bits are wanted that they do not promise."""
    names = ", ".join(name for _, name in accelerators)
    if deterministic and not {kind for kind, _ in accelerators} <= PROMISED:
        raise UserError(f"nobody promises the same bits again on {names}; {FORGO}")
    if deterministic and len(accelerators) > 1:
        raise UserError(
            f"bits are promised on one accelerator, not on {names}; choose one, as by "
            f"CUDA_VISIBLE_DEVICES=0; {FORGO}"
        )
    return names or "cpu"


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
