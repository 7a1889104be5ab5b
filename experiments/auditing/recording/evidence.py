"""What else the script's process did and was: files, threads, code, environment."""

from __future__ import annotations

import concurrent.futures
import hashlib
import multiprocessing
import os
import platform
import stat
import sys
import threading
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

from experiments.auditing.recording.import_hooks import (
    LIBRARIES,
    OWN,
    is_own_code,
    is_own_file,
    script_line,
)
from experiments.auditing.recording.internals import keras_backend
from experiments.harness.runtime import cpu, env_vars
from experiments.harness.runtime.backends import PACKAGES

HASHED = 1 << 24  # bytes; of a larger file, size and time of change are compared
MOST_FILES = 10_000
POOLS = tuple(module.__path__[0] for module in (concurrent.futures, multiprocessing))
STARTERS = (OWN, threading.__file__, *POOLS)
IGNORED = (*LIBRARIES, "/proc/", "/sys/", "/dev/", "/etc/", "/usr/")
WORKERS = "a PyDataset with workers"  # they are started by a thread of Keras's
CACHES = ("/.cache/", "/.config/", "/.matplotlib/", "/keras.json")  # of libraries


class Evidence:
    """Watches which files the script reads and which threads it starts, as they happen."""

    def __init__(self, own_folder: Path) -> None:
        self.own_folder = str(own_folder)
        self.files: dict[str, str] = {}
        self.written: set[str] = set()  # not evidence when read again
        self.threads: dict[str, int] = {}
        self.active = True
        self.reading = threading.local()

    def watch(self) -> None:
        """Watch from now on; Python's audit hooks last as long as the process."""
        sys.addaudithook(self._on_event)
        self.watch_threads()

    def watch_threads(self) -> None:
        """Count the threads that the script starts, by its lines."""
        start = threading.Thread.start

        def watched(thread: threading.Thread) -> None:
            if self.active and (line := _starter()):
                self.threads[line] = self.threads.get(line, 0) + 1
            start(thread)

        threading.Thread.start = watched  # type: ignore[method-assign, assignment]

    def _on_event(self, event: str, args: tuple[Any, ...]) -> None:
        if event != "open" or not self.active or getattr(self.reading, "now", False):
            return
        path, _, flags = args
        if not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.fsdecode(path)
        if name.startswith(IGNORED) or name.endswith((".py", ".pyc")):
            return
        self.reading.now = True
        try:
            real = os.path.realpath(name)
            if flags & (os.O_WRONLY | os.O_RDWR):
                self.written.add(real)
            elif real not in self.written:
                self._keep(real)
        except OSError:  # the script's own call will say so
            pass
        finally:
            self.reading.now = False

    def _keep(self, path: str) -> None:
        if path in self.files or len(self.files) >= MOST_FILES:
            return
        is_cache = any(part in path for part in CACHES)
        if is_cache or path.startswith((*IGNORED, self.own_folder)):
            return
        status = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            return
        if status.st_size > HASHED:
            self.files[path] = f"{status.st_size} {status.st_mtime_ns}"
        else:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123
                self.files[path] = hashlib.sha256(file.read()).hexdigest()[:16]


def _starter() -> str:
    """Return the line of the script that starts a thread, itself or as a pool; else nothing.

    Of Keras's own threads only the pool of a ``PyDataset`` with several workers counts.
    """
    frame: FrameType | None = sys._getframe(1)
    passed = ""
    while frame and frame.f_code.co_filename.startswith(STARTERS):
        passed, frame = frame.f_code.co_filename, frame.f_back
    if frame is None:
        return ""
    workers = frame.f_code.co_filename.endswith("py_dataset_adapter.py")
    if workers and passed.startswith(POOLS):
        return script_line() or WORKERS
    return script_line() if is_own_code(frame.f_code.co_filename) else ""


def code(script: Path) -> dict[str, str]:
    """Return a digest of the script and of each module of its own that it imported."""
    paths = {str(script)} | {
        path
        for module in list(sys.modules.values())
        if isinstance(path := getattr(module, "__file__", None), str) and is_own_file(path)
    }
    digests = {}
    for path in sorted(paths):
        file = Path(path)
        if file.suffix == ".py" and file.is_file():
            name = os.path.relpath(file, script.parent)
            digests[name] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return digests


def environment(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return what decides bits besides the script: versions, processor, threads, settings.

    ``variables`` are the process's environment variables as it started.
    """
    backend = keras_backend()
    patterns = env_vars.RECORDED.get(backend, env_vars.MATH_LIBRARIES)
    return {
        "backend": backend,
        "versions": {
            name: found
            for name in ("keras", "numpy", *PACKAGES.get(backend, ()))
            if (found := _version(name))
        },
        "python": platform.python_version(),
        "device": _device(backend),
        "cpu": cpu.describe(),
        "caches": cpu.caches(),
        "threads": _threads(backend),
        "settings": {
            name: value
            for name, value in sorted((variables | os.environ).items())
            if any(fnmatchcase(name, pattern) for pattern in (*patterns, "PYTHONHASHSEED"))
        },
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _device(backend: str) -> str:
    if backend == "tensorflow":
        import tensorflow as tf

        return ", ".join(d.device_type for d in tf.config.get_visible_devices())
    if backend == "jax":
        import jax

        return ", ".join(d.device_kind for d in jax.local_devices())
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return ""


def _threads(backend: str) -> dict[str, int]:
    counts = {"processors": cpu.available_count()}
    if backend == "tensorflow":
        from tensorflow import config

        counts["intra-op"] = config.threading.get_intra_op_parallelism_threads()
        counts["inter-op"] = config.threading.get_inter_op_parallelism_threads()
    if backend == "torch":
        from torch import get_num_threads

        counts["intra-op"] = get_num_threads()
    return counts


def other_frameworks() -> list[str]:
    """Return a line for each framework that the script uses and that is not recorded."""
    if "tf_keras" in sys.modules:
        return ["tf_keras (Keras 2) is not recorded, only Keras 3"]
    return []
