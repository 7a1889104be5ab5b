"""Check that training is bit-reproducible on this machine: repeat short runs in fresh processes."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from experiments.harness.runtime import cpu, subprocesses
from experiments.harness.runtime.backends import PACKAGES
from experiments.harness.runtime.log import logger
from experiments.harness.spec import UserError, nearest
from experiments.verification import golden

KNOWN_ANSWERS = "experiments.verification.known_answers.check:check"
SHORT_RUNS = "experiments.verification.self_test_runs:train_short_runs"
CPU_ONLY = {  # settings that hide accelerators from a backend
    "tensorflow": {"CUDA_VISIBLE_DEVICES": "-1"},
    "jax": {"JAX_PLATFORMS": "cpu"},
    "torch": {"CUDA_VISIBLE_DEVICES": "-1"},
}
KERNELS = {"tensorflow": {"TF_ENABLE_ONEDNN_OPTS": "1"}}  # set by determinism; else CPU-dependent


@dataclass(frozen=True)
class SelfTestResult:
    """The result of one short run on one backend and device.

    ``repeated`` counts its trainings, each in a fresh process; the last one is stopped and resumed.
    ``fingerprints`` are the distinct ones; ``repository`` compares the first with the committed one
    (``golden.compare``). ``milliseconds`` is the median time of a training step with determinism,
    ``without`` that without it, over ``timings`` repetitions in one process each.
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
        """KEPT if every training ended in the same bits, else BROKEN."""
        return "KEPT" if len(self.fingerprints) == 1 else "BROKEN"

    def to_json(self) -> dict[str, Any]:
        """Return all fields and the verdict as JSON types."""
        return asdict(self) | {"verdict": self.verdict}


def backends(wanted: Sequence[str] = ()) -> list[str]:
    """Return the wanted backends, by default all installed ones; ``UserError`` if unknown."""
    for name in wanted:
        if name not in PACKAGES:
            raise UserError(f"unknown backend {name!r}{nearest(name, PACKAGES)}")
    return list(wanted) or [name for name in PACKAGES if importlib.util.find_spec(name)]


def check_known_answers(backend: str, portable: bool = False) -> list[dict[str, Any]]:
    """Compare small programs with their exact results, on each device, in fresh processes.

    Returns what ``known_answers.check.check`` does, for each device. Raises as ``run_backend``.
    """

    def check(settings: Mapping[str, str]) -> Any:
        start = {"deterministic": True, "settings": settings, "portable": portable}
        return subprocesses.call(KNOWN_ANSWERS, {}, backend=backend, start=start)

    first = check({})
    if first["environment"]["device"] == "cpu":
        return [first]
    return [first, check(CPU_ONLY[backend])]


def describe_portable(results: Sequence[SelfTestResult], sound: bool) -> str:
    """Return whether this machine gives the published bits of the portable profile, as a line."""
    if sound and results and all(result.repository == "same" for result in results):
        return f"this machine gives the published bits of {cpu.PORTABLE}"
    if any(result.repository == "OTHER" for result in results):
        return f"this machine gives OTHER bits than those published for {cpu.PORTABLE}"
    if sound and results:
        versions = results[0].environment["versions"].items()
        packages = ", ".join(f"{name} {number}" for name, number in versions)
        return f"no bits are published for {cpu.PORTABLE} with {packages}"
    return f"this machine does not give the bits of {cpu.PORTABLE}: see above"


def describe_known_answers(result: Mapping[str, Any]) -> str:
    """Return a device's known-answer test as a line."""
    environment, operations = result["environment"], result["operations"]
    backend = environment["backend"]
    device = f"{backend} {environment['versions'][backend]} on {environment['device']}"
    if failures := [_describe_failure(each) for each in operations if each["wrong"]]:
        return f"{device}: WRONG: {'; '.join(failures)}"
    return f"{device}: {len(operations)} operations, all within their bounds of the exact results"


def _describe_failure(finding: Mapping[str, Any]) -> str:
    by = "not finite" if finding["ulp"] is None else f"off by {finding['ulp']:.3g} ULP"
    return (
        f"{finding['operation']}: {finding['result']}{list(finding['index'])} is {by}, bound "
        f"{finding['bound']:.3g} ({finding['wrong']} of {finding['elements']} values are wrong)"
    )


def run_backend(backend: str, repeats: int, portable: bool = False) -> list[SelfTestResult]:
    """Test a backend on each device, its accelerator (if any) and the CPU.

    Each run is trained in ``repeats`` fresh processes, at least 2. Raises ``UserError`` if the
    backend refuses, and ``ProcessError`` if a process fails.
    """
    results = _test_device(backend, {}, repeats, portable)
    if results[0].environment["device"] == "cpu":
        return results
    return results + _test_device(backend, CPU_ONLY[backend], repeats)


def _test_device(
    backend: str, settings: Mapping[str, str], repeats: int, portable: bool = False
) -> list[SelfTestResult]:
    deterministic = {"deterministic": True, "settings": settings, "portable": portable}
    kernels = {**settings, **KERNELS.get(backend, {})}
    nondeterministic = {"deterministic": False, "settings": kernels}
    payloads = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeats):
            directories = _directories(Path(folder), number, repeats)
            payloads.append(_train(backend, directories, number == 0, deterministic))
            device = payloads[0]["environment"]["device"]
            logger.info(f"{backend} on {device}: process {number + 1} of {repeats}")
            if number == 0:
                without = _train(backend, {}, True, nondeterministic)["seconds"]
    return [_result(run, payloads, without[run]) for run in payloads[0]["fingerprints"]]


def _directories(folder: Path, number: int, repeats: int) -> dict[str, int | None]:
    """Return the directories that process ``number`` trains in, and up to which interval.

    The first process also starts the runs that the last one resumes.
    """
    resumed = str(folder / "resumed")
    if number == repeats - 1:
        return {resumed: None}
    whole: dict[str, int | None] = {str(folder / f"{number}"): None}
    return whole if number else {**whole, resumed: 1}


def _train(
    backend: str, directories: Mapping[str, int | None], timing: bool, start: Mapping[str, Any]
) -> Any:
    """Call ``train_short_runs`` in a fresh process."""
    arguments = {"directories": directories, "timing": timing}
    return subprocesses.call(SHORT_RUNS, arguments, backend=backend, start=start)


def _result(
    run: str, payloads: Sequence[Mapping[str, Any]], without: Sequence[float]
) -> SelfTestResult:
    environment, seconds = payloads[0]["environment"], payloads[0]["seconds"][run]
    fingerprints = [found for payload in payloads for found in payload["fingerprints"][run]]
    return SelfTestResult(
        run=run,
        environment=environment,
        repeated=len(fingerprints),
        fingerprints=tuple(dict.fromkeys(fingerprints)),
        repository=golden.compare(environment, run, fingerprints[0]),
        milliseconds=1000 * median(seconds),
        without=1000 * median(without),
        timings=(len(seconds), len(without)),
    )
