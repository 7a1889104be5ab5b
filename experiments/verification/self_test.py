"""Does this machine keep the promise? Short trainings, repeated in fresh processes, tell."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from experiments.harness.runtime import subprocesses
from experiments.harness.runtime.backends import PACKAGES
from experiments.harness.runtime.log import logger
from experiments.harness.spec import UserError, nearest
from experiments.verification import golden

SHORT_RUNS = "experiments.verification.self_test_runs:train_short_runs"
HIDDEN = {  # what keeps a backend to the CPU where there is a GPU
    "tensorflow": {"CUDA_VISIBLE_DEVICES": "-1"},
    "jax": {"JAX_PLATFORMS": "cpu"},
    "torch": {"CUDA_VISIBLE_DEVICES": "-1"},
}
KERNELS = {"tensorflow": {"TF_ENABLE_ONEDNN_OPTS": "1"}}  # without determinism it chooses by itself


@dataclass(frozen=True)
class SelfTestResult:
    """What one backend did on one device with one short run.

    ``repeated`` counts its trainings, each in a fresh process and the last one begun in another;
    ``fingerprints`` are the distinct ones, ``repository`` how the first compares with what the
    repository keeps for this environment (``golden.compare``). ``milliseconds`` are the median
    training step's with determinism, ``without`` those without it, of ``timings`` repetitions in a
    process each.
    """

    run: str
    environment: Mapping[str, Any]
    repeated: int
    fingerprints: tuple[str, ...]
    repository: str
    milliseconds: float
    without: float
    timings: tuple[int, int]

    @property
    def verdict(self) -> str:
        """KEPT where every training ended in the same bits, else BROKEN."""
        return "KEPT" if len(self.fingerprints) == 1 else "BROKEN"

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON types."""
        return asdict(self) | {"verdict": self.verdict}


def backends(wanted: Sequence[str] = ()) -> list[str]:
    """Return the backends that are wanted, else those installed; ``UserError`` for an unknown."""
    for name in wanted:
        if name not in PACKAGES:
            raise UserError(f"no backend is called {name!r}{nearest(name, PACKAGES)}")
    return list(wanted) or [name for name in PACKAGES if importlib.util.find_spec(name)]


def run_backend(backend: str, times: int) -> list[SelfTestResult]:
    """Return what the backend did on each device: its accelerator, where it has one, and the CPU.

    ``times`` fresh processes each, at least 2. Raises ``UserError`` where the backend refuses, and
    ``ProcessError`` where a process fails.
    """
    rows = _on_device(backend, {}, times)
    if rows[0].environment["device"] == "cpu":
        return rows
    return rows + _on_device(backend, HIDDEN[backend], times)


def _on_device(backend: str, settings: Mapping[str, str], times: int) -> list[SelfTestResult]:
    answers = []
    with tempfile.TemporaryDirectory() as folder:

        def process(directories: Mapping[str, int | None], timing: bool, **start: Any) -> Any:
            paths = {str(Path(folder, name)): intervals for name, intervals in directories.items()}
            arguments = {"directories": paths, "timing": timing}
            start = {"settings": settings} | start
            return subprocesses.call(SHORT_RUNS, arguments, backend=backend, start=start)

        for number in range(times):
            whole: dict[str, int | None] = {"last" if number == times - 1 else f"{number}": None}
            begun = {} if number else {"last": 1}
            answers.append(process({**whole, **begun}, not number, deterministic=True))
            device = answers[0]["environment"]["device"]
            logger.info(f"{backend} on {device}: process {number + 1} of {times}")
            if not number:
                alike = {**settings, **KERNELS.get(backend, {})}
                without = process({}, True, deterministic=False, settings=alike)["seconds"]
    return [_tested(run, answers, without[run]) for run in answers[0]["fingerprints"]]


def _tested(run: str, answers: list[Any], without: list[float]) -> SelfTestResult:
    found = [fingerprint for answer in answers for fingerprint in answer["fingerprints"][run]]
    environment, seconds = answers[0]["environment"], answers[0]["seconds"][run]
    return SelfTestResult(
        run=run,
        environment=environment,
        repeated=len(found),
        fingerprints=tuple(dict.fromkeys(found)),
        repository=golden.compare(environment, run, found[0]),
        milliseconds=1000 * median(seconds),
        without=1000 * median(without),
        timings=(len(seconds), len(without)),
    )
