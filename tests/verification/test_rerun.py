"""Faults planted in runs that claim to be as they should; verification must name each."""

from pathlib import Path

import pytest

from experiments.harness.runtime import subprocesses
from experiments.verification.rerun import Verifier
from tests.helpers.environment import ENVIRONMENT

PROCESSORS = ENVIRONMENT["threads"]


def made(logdir: Path, fault: str | None = None, **start) -> Path:
    arguments = {"logdir": str(logdir), "environment": ENVIRONMENT, "fault": fault}
    return Path(subprocesses.call("tests.helpers.corrupted_runs:made", arguments, start=start))


def finding(directory: Path, scratch: Path):
    told: list[str] = []
    verifier = Verifier(directory, None, scratch, told.append)
    return verifier.diagnose(*verifier.rerun())


def test_a_flipped_bit_in_the_initial_weights(tmp_path):
    found = finding(made(tmp_path, "flipped_bit"), tmp_path / "again")
    assert (found.interval, found.step) == (0, None)
    assert found.cause.startswith("initial values: conv1/kernel")
    assert (found.apart.path, found.apart.ulps) == ("conv1/kernel", 1)
    assert found.apart.share == pytest.approx(1 / found.apart.elements)


def test_a_swapped_pair_of_examples(tmp_path):
    found = finding(made(tmp_path, "swapped_pair"), tmp_path / "again")
    assert (found.interval, found.step) == (3, 8)
    assert found.cause.startswith("the batch of step 8")
    assert found.apart.share > 0


@pytest.mark.skipif(ENVIRONMENT["backend"] == "torch", reason="its generator is global there")
def test_a_dropout_seed_off_by_one(tmp_path):
    found = finding(made(tmp_path, "dropout_seed"), tmp_path / "again")
    assert found.interval == 0
    assert found.cause.startswith("random-number state: ")
    assert found.apart.ulps == 1


@pytest.mark.skipif(PROCESSORS < 2, reason="there is one processor only")
def test_another_number_of_threads(tmp_path):
    found = finding(made(tmp_path, threads=1), tmp_path / "again")
    assert found.interval == 1
    assert found.step is not None
    assert found.cause.startswith(f"threads: 1, not {PROCESSORS}")
    assert found.apart.share > 0


@pytest.mark.skipif(ENVIRONMENT["backend"] != "tensorflow", reason="no other bits on this CPU")
def test_determinism_switched_off(tmp_path):
    found = finding(made(tmp_path, deterministic=False), tmp_path / "again")
    assert found.interval == 1
    assert found.cause.startswith("determinism: off, not on")
