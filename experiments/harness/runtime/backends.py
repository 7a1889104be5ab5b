"""The Keras backends: which are installed, and how each one is started and made deterministic."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from experiments.harness.runtime import env_vars
from experiments.harness.spec import UserError, nearest

PACKAGES = {  # backend: the distributions whose versions decide the bits
    "tensorflow": ("tensorflow",),
    "jax": ("jax", "jaxlib"),
    "torch": ("torch",),
}
DETERMINISTIC_KINDS = {
    "gpu",
    "cuda",
    "rocm",
}  # accelerators on which backends can be told to be deterministic
ALLOW_HINT = "--allow-nondeterministic goes without determinism"
NONDETERMINISTIC_OP = re.compile(  # how the backends say that an operation cannot keep it
    r"[^\n]*(deterministic (\w+ )?implementation|determinism is (enabled|required)"
    r"|deterministic behavior was enabled)[^\n]*",
    re.IGNORECASE,
)

Accelerators = list[tuple[str, str]]  # kind, name


def installed_backend() -> str:
    """Return the backend that ``KERAS_BACKEND`` chooses; ``UserError`` where it is not here."""
    backend = env_vars.keras_backend()
    if backend not in PACKAGES:
        raise UserError(f"KERAS_BACKEND={backend} is no backend{nearest(backend, PACKAGES)}")
    if importlib.util.find_spec(backend) is None:
        raise UserError(
            f"{backend} is not installed: pip install -c constraints.txt -e '.[{backend}]'"
        )
    return backend


@contextmanager
def translate_backend_errors() -> Iterator[None]:
    """Turn a backend's error that an operation cannot be deterministic into a ``UserError``."""
    try:
        yield
    except Exception as error:  # each backend has its own
        found = NONDETERMINISTIC_OP.search(str(error))
        if found is None:
            raise
        raise UserError(f"{found[0].strip()[:300]}; {ALLOW_HINT}") from error


def generator_state() -> dict[str, NDArray[Any]]:
    """Return, by path, what the backend's own generators hold that no Keras variable does.

    Empty but on PyTorch, where Keras's dropout without a seed draws from the global generators.
    """
    return {path: get() for path, (get, _) in _generators().items()}


def restore_generator_state(tensors: Mapping[str, NDArray[Any]]) -> None:
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


def start_tensorflow(threads: int, deterministic: bool) -> Accelerators:
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


def start_jax(_threads: int, _deterministic: bool) -> Accelerators:
    import jax

    return [(d.platform, d.device_kind) for d in jax.devices() if d.platform != "cpu"]


def start_torch(threads: int, deterministic: bool) -> Accelerators:
    import torch

    torch.set_num_threads(threads)
    if deterministic:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    others = [name for name in ("mps", "xpu") if getattr(torch, name).is_available()]
    gpus = map(torch.cuda.get_device_name, range(torch.cuda.device_count()))
    return [*(("cuda", name) for name in gpus), *((name, name) for name in others)]


def device_name(accelerators: Accelerators, deterministic: bool) -> str:
    """Return the devices' names; ``UserError`` where bits are wanted that they do not promise."""
    names = ", ".join(name for _, name in accelerators)
    if deterministic and not {kind for kind, _ in accelerators} <= DETERMINISTIC_KINDS:
        raise UserError(f"nobody promises the same bits again on {names}; {ALLOW_HINT}")
    if deterministic and len(accelerators) > 1:
        raise UserError(
            f"bits are promised on one accelerator, not on {names}; choose one, as by "
            f"CUDA_VISIBLE_DEVICES=0; {ALLOW_HINT}"
        )
    return names or "cpu"
