"""The Keras backends: find, start and make deterministic; save and restore their generators."""

from __future__ import annotations

import importlib.util
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from experiments.harness.runtime import env_vars
from experiments.harness.spec import UserError, nearest

if TYPE_CHECKING:  # importing NumPy fixes its libraries' threads and kernels
    from numpy.typing import NDArray

PACKAGES = {  # backend: the distributions whose versions change the bits
    "tensorflow": ("tensorflow",),
    "jax": ("jax", "jaxlib"),
    "torch": ("torch",),
}
DETERMINISTIC_KINDS = {"gpu", "cuda", "rocm"}  # accelerators with a deterministic mode
ALLOW_HINT = "use --allow-nondeterministic to train without determinism"
NONDETERMINISTIC_OP = re.compile(  # the backends' errors for an op without a deterministic kernel
    r"[^\n]*(deterministic (\w+ )?implementation|determinism is (enabled|required)"
    r"|deterministic behavior was enabled)[^\n]*",
    re.IGNORECASE,
)

VECTOR_FUNCTIONS = (  # of PyTorch; aten/src/ATen/cpu/vml.h calls MKL for most of them
    *("abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "erfinv", "exp"),
    *("expm1", "floor", "log", "log10", "log1p", "log2", "reciprocal", "round", "rsqrt"),
    *("sigmoid", "sin", "sinh", "sqrt", "tan", "tanh", "trunc"),
)

Accelerators = list[tuple[str, str]]  # kind, name


def installed_backend() -> str:
    """Return the backend that Keras would choose; ``UserError`` if unknown or not installed."""
    backend, source = env_vars.named_backend()
    if backend not in PACKAGES:
        raise UserError(f"unknown backend {backend!r} in {source}{nearest(backend, PACKAGES)}")
    if importlib.util.find_spec(backend) is None:
        extra = "" if backend == "tensorflow" else f"[{backend}]"  # TensorFlow is a dependency
        raise UserError(
            f"{backend} ({source}) is not installed: "
            f"pip install -c constraints.txt -e '.{extra}', or set KERAS_BACKEND"
        )
    return backend


@contextmanager
def translate_backend_errors() -> Iterator[None]:
    """Turn a backend's error about a nondeterministic operation into a ``UserError``."""
    try:
        yield
    except Exception as error:  # each backend raises its own type
        match = NONDETERMINISTIC_OP.search(str(error))
        if match is None:
            raise
        raise UserError(f"{match[0].strip()[:300]}; {ALLOW_HINT}") from error


def refuse_keras_limits() -> None:
    """Raise ``UserError`` if Keras is configured to cut training or evaluation short."""
    import keras

    if keras.config.max_epochs() or keras.config.max_steps_per_epoch():
        raise UserError(
            "keras.config limits the epochs or steps; call set_max_epochs(None) and "
            "set_max_steps_per_epoch(None)"
        )


def generator_state() -> dict[str, NDArray[Any]]:
    """Return the states of the backend's generators that no Keras variable holds, by path.

    Empty except on PyTorch, where Keras's dropout without a seed draws from the global generators.
    """
    if env_vars.keras_backend() != "torch":
        return {}
    import torch

    gpus = range(torch.cuda.device_count())
    return {
        "generator/cpu": torch.get_rng_state().numpy(),
        **{f"generator/cuda{gpu}": torch.cuda.get_rng_state(gpu).numpy() for gpu in gpus},
    }


def restore_generator_state(tensors: Mapping[str, NDArray[Any]]) -> None:
    """Restore what ``generator_state()`` returned."""
    if env_vars.keras_backend() != "torch":
        return
    import torch

    torch.set_rng_state(torch.from_numpy(tensors["generator/cpu"]))
    for gpu in range(torch.cuda.device_count()):
        torch.cuda.set_rng_state(torch.from_numpy(tensors[f"generator/cuda{gpu}"]), gpu)


def start_tensorflow(threads: int, deterministic: bool) -> Accelerators:
    """Configure TensorFlow; return its accelerators."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    return accelerators("tensorflow")


def accelerators(backend: str) -> Accelerators:
    """Return the accelerators of a backend that is started."""
    find = {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}
    return find[backend]()


def _of_tensorflow() -> Accelerators:
    import tensorflow as tf

    details = tf.config.experimental.get_device_details
    devices = [d for d in tf.config.list_physical_devices() if d.device_type != "CPU"]
    metal = platform.system() == "Darwin"  # TensorFlow calls Metal devices GPU, too
    return [
        ("mps" if metal else d.device_type.lower(), details(d).get("device_name", d.device_type))
        for d in devices
    ]


def start_jax(_threads: int, _deterministic: bool) -> Accelerators:
    """Start JAX, which environment variables configure; return its accelerators."""
    return accelerators("jax")


def _of_jax() -> Accelerators:
    import jax

    return [(d.platform, d.device_kind) for d in jax.devices() if d.platform != "cpu"]


def start_torch(threads: int, deterministic: bool) -> Accelerators:
    """Configure PyTorch; return its accelerators."""
    import torch

    _call_vector_functions()
    torch.set_num_threads(threads)
    if deterministic:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    return accelerators("torch")


def _of_torch() -> Accelerators:
    import torch

    others = [name for name in ("mps", "xpu") if getattr(torch, name).is_available()]
    gpus = map(torch.cuda.get_device_name, range(torch.cuda.device_count()))
    return [*(("cuda", name) for name in gpus), *((name, name) for name in others)]


def _call_vector_functions() -> None:
    """Call each vector function that PyTorch takes from MKL, on one thread.

    MKL before 2025.0 chooses a function's kernel in its first call. If several threads make that
    call at once, one may get a kernel of low precision (github.com/pytorch/pytorch, issue 188792).
    """
    import torch

    for dtype in (torch.float32, torch.float64):
        values = torch.full((64,), 0.5, dtype=dtype)  # too few for several threads
        for name in VECTOR_FUNCTIONS:
            getattr(torch, name)(values)


def device_name(accelerators: Accelerators, deterministic: bool) -> str:
    """Return the devices' names; ``UserError`` if they do not support ``deterministic``."""
    names = ", ".join(name for _, name in accelerators)
    if deterministic and not {kind for kind, _ in accelerators} <= DETERMINISTIC_KINDS:
        raise UserError(f"bit-exact training is not supported on {names}; {ALLOW_HINT}")
    if deterministic and len(accelerators) > 1:
        raise UserError(
            f"bit-exact training needs a single accelerator, not {names}; select one, for example "
            f"with CUDA_VISIBLE_DEVICES=0, or {ALLOW_HINT}"
        )
    return names or "cpu"
