"""Verification names the fault of each corrupted run."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.harness.execution.local import Fresh
from experiments.harness.execution.task import ExecutorError
from experiments.harness.runtime import env_vars, subprocesses
from experiments.verification import causes
from experiments.verification.divergence import Divergence
from experiments.verification.rerun import Verifier
from tests.helpers import corrupted_runs
from tests.helpers.corrupted_runs import TINY, TINY_ALEXNET
from tests.helpers.environment import ENVIRONMENT
from tests.helpers.shared_processes import SharedProcesses

PROCESSORS = ENVIRONMENT["threads"]
LARGE = TINY_ALEXNET | {"intervals": 2}  # large enough for threads to matter


@pytest.fixture(scope="module")
def processes() -> Iterator[SharedProcesses]:
    shared = SharedProcesses()
    yield shared
    shared.end()


@pytest.fixture(autouse=True)
def _shared(processes, monkeypatch):
    """Verify in a process for each setting; ``test_verify`` starts a fresh one for every call."""
    monkeypatch.setattr(subprocesses, "call", processes)


def diagnose(scratch: Path, fault: str | None = None, tiny=TINY, **start) -> Divergence:
    """Train a run with a fault or other settings, and return what verification finds."""
    arguments = {"logdir": str(scratch), "environment": ENVIRONMENT, "fault": fault, "tiny": tiny}
    start = causes.recorded_start(ENVIRONMENT) | start
    directory = subprocesses.call("tests.helpers.corrupted_runs:train", arguments, start=start)
    verifier = Verifier(Path(directory), None, scratch / "again")
    found = verifier.diagnose(*verifier.rerun())
    assert found is not None
    return found


def test_a_flipped_bit_in_the_initial_weights(tmp_path):
    found = diagnose(tmp_path, "flipped_bit")
    assert (found.interval, found.step) == (0, None)
    assert found.cause.startswith("initial values: conv1/kernel")
    assert (found.distance.path, found.distance.ulps) == ("conv1/kernel", 1)
    assert found.distance.share == pytest.approx(1 / found.distance.elements)


def test_a_swapped_pair_of_examples(tmp_path):
    found = diagnose(tmp_path, "swapped_pair")
    assert (found.interval, found.step) == (3, 8)
    assert found.cause.startswith("the batch of step 8")
    assert found.distance.share > 0


@pytest.mark.skipif(ENVIRONMENT["backend"] == "torch", reason="its generator is global there")
def test_a_dropout_seed_off_by_one(tmp_path):
    found = diagnose(tmp_path, "dropout_seed")
    assert found.interval == 0
    assert found.cause.startswith("random-number state: ")
    assert found.distance.ulps == 1


@pytest.mark.slow
@pytest.mark.skipif(PROCESSORS < 2, reason="there is only one processor")
def test_another_number_of_threads(tmp_path):
    found = diagnose(tmp_path, tiny=LARGE, threads=1)
    assert found.interval == 1
    assert found.step is not None
    assert found.cause == f"threads: 1 instead of {PROCESSORS} reproduces the recorded bits"
    assert found.distance.share > 0


@pytest.mark.slow  # test_audit.py finds causes, too
@pytest.mark.skipif(
    ENVIRONMENT["backend"] != "tensorflow", reason="the bits do not depend on it on a CPU"
)
def test_determinism_switched_off(tmp_path):
    found = diagnose(tmp_path, tiny=LARGE, deterministic=False)
    assert found.interval == 1
    assert found.cause == "determinism: off instead of on reproduces the recorded bits"


@pytest.mark.skipif(ENVIRONMENT["backend"] != "jax", reason="only XLA has it")
def test_xlas_ynn_fusion_switched_on(tmp_path):
    found = diagnose(tmp_path, omitted_flags=[env_vars.CORRECT_XLA_FLAG])
    assert found.cause == "XLA's YNN fusion: on instead of off reproduces the recorded bits"


def test_an_executor_that_fails_is_no_cause(tmp_path):
    class Stopping(Fresh):
        """Stops at the first candidate, after the rerun and its repetition."""

        count = 0

        def run(self, tasks):
            self.count += 1
            if self.count == 3:
                raise ExecutorError("the cluster has stopped")
            return super().run(tasks)

    directory = corrupted_runs.train(str(tmp_path), ENVIRONMENT, None)
    verifier = Verifier(Path(directory), None, tmp_path / "again", Stopping())
    rerun, folder = verifier.rerun()
    verifier.run = replace(rerun, chain=("0" * 64,) * 5, digests=({},) * 5)
    with pytest.raises(ExecutorError, match="has stopped"):
        verifier.diagnose(rerun, folder)
