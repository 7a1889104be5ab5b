"""The switches that an audit tries: what each pins, for which backends, and how to write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BACKENDS = ("tensorflow", "jax", "torch")
IMPORT = {"tensorflow": "tf", "jax": "jax", "torch": "torch"}


@dataclass(frozen=True)
class Switch:
    """One thing that an audit can pin.

    ``cause`` is what changed the bits if pinning it makes the script repeat. ``code`` is the line
    to add to the script, by backend or for all (``""``). ``environ`` are variables to start the
    process with, by backend or for all; ``recording.switches`` does the rest.
    """

    cause: str
    code: Mapping[str, str]
    environ: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    backends: tuple[str, ...] = BACKENDS

    def line(self, backend: str) -> str:
        """Return the line of code to add."""
        return self.code.get(backend) or self.code.get("", "")

    def variables(self, backend: str) -> dict[str, str]:
        """Return the environment variables to set."""
        return {**self.environ.get("", {}), **self.environ.get(backend, {})}


_ONE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
SWITCHES: dict[str, Switch] = {
    "keras_seed": Switch(
        "no seed for what Keras draws from: Python's, NumPy's and the backend's generators",
        {"": "keras.utils.set_random_seed(0)  # after import keras, before anything is made"},
    ),
    "python_seed": Switch(
        "Python's random has no seed", {"": "random.seed(0)  # at the top, after import random"}
    ),
    "numpy_seed": Switch(
        "NumPy's generator has no seed", {"": "np.random.seed(0)  # after import numpy as np"}
    ),
    "hash_seed": Switch(
        "the order of a set, or hash(), differs from process to process",
        {"": "sorted(...)  # around the set, or start Python with PYTHONHASHSEED=0"},
        {"": {"PYTHONHASHSEED": "0"}},
    ),
    "clock": Switch(
        "the clock: its time enters the training",
        {"": "seed = 0  # a number instead of the time"},
    ),
    "threads_in_turn": Switch(
        "threads of the script race",
        {"": "workers=1  # or take the threads' results in a fixed order, as Executor.map does"},
    ),
    "determinism": Switch(
        "an operation without a deterministic order of its sums",
        {
            "tensorflow": "tf.config.experimental.enable_op_determinism()  # needs a seed, too",
            "jax": 'os.environ["XLA_FLAGS"] = "--xla_gpu_deterministic_ops=true"  # before jax',
            "torch": "torch.use_deterministic_algorithms(True)",
        },
        {
            "jax": {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"},
            "torch": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        },
    ),
    "one_thread": Switch(
        "the number of threads, or how they share the work",
        {
            "tensorflow": "tf.config.threading.set_intra_op_parallelism_threads(1)  # and inter",
            "jax": 'os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"  # before jax',
            "torch": "torch.set_num_threads(1)",
        },
        {
            "": dict.fromkeys(_ONE, "1"),
            "tensorflow": {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"},
            "jax": {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"},
        },
    ),
    "onednn_off": Switch(
        "oneDNN chooses its kernels anew",
        {
            "tensorflow": 'os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # before import keras',
            "torch": "torch.backends.mkldnn.enabled = False",
        },
        {"tensorflow": {"TF_ENABLE_ONEDNN_OPTS": "0"}},
        ("tensorflow", "torch"),
    ),
    "xla_off": Switch(
        "XLA compiles the step anew",
        {"": "model.compile(..., jit_compile=False)"},
        {"torch": {"TORCHDYNAMO_DISABLE": "1"}},
    ),
}

SEEDS = ("python_seed", "numpy_seed", "keras_seed")
OF_CODE = ("hash_seed", "clock", "threads_in_turn")
OF_ARITHMETIC = ("determinism", "one_thread", "onednn_off", "xla_off")
ORDER = {  # kind of the first difference: what to try first
    "weights": ("keras_seed", "python_seed", "numpy_seed", *OF_CODE, *OF_ARITHMETIC),
    "masks": ("keras_seed", "python_seed", "numpy_seed", *OF_CODE, *OF_ARITHMETIC),
    "order": ("keras_seed", "numpy_seed", "python_seed", *OF_CODE, *OF_ARITHMETIC),
    "content": (*SEEDS, *OF_CODE, *OF_ARITHMETIC),
    "arithmetic": (*OF_ARITHMETIC, *SEEDS, *OF_CODE),
}
ORDER |= dict.fromkeys(("between steps", "metrics", "control flow"), ORDER["content"])
GENERATORS = {  # recorded state: the switch that seeds it
    "python": "python_seed",
    "numpy": "numpy_seed",
    "keras": "keras_seed",
    "tensorflow": "keras_seed",
    "torch": "keras_seed",
}


def to_try(kind: str, backend: str, generators: list[str], racing: bool = False) -> list[str]:
    """Return the switches to try for a kind of difference, the likely ones first.

    ``generators`` are those whose recorded states differed before: seeds of others come last.
    ``racing``: whether threads of the script's are likelier than anything else.
    """
    order = [name for name in ORDER[kind] if backend in SWITCHES[name].backends]
    likely = {GENERATORS[name] for name in generators if name in GENERATORS}
    ruled = [name for name in ("python_seed", "numpy_seed") if likely and name not in likely]
    first = ["threads_in_turn"] if racing else []
    return [*first, *(name for name in order if name not in (*first, *ruled)), *ruled]
