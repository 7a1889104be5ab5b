"""Faults planted in runs that claim to be as they should; verification must name each."""

import json
from pathlib import Path

import pytest

from experiments.forensics import elsewhere, verification
from experiments.forensics.verification import Verifier
from experiments.harness import record
from tests.conftest import ENVIRONMENT

PROCESSORS = ENVIRONMENT["threads"]


def made(logdir: Path, fault: str | None = None, **start) -> Path:
    arguments = {"logdir": str(logdir), "environment": ENVIRONMENT, "fault": fault}
    return Path(elsewhere.call("tests.faulty:made", arguments, start=start))


def finding(directory: Path, scratch: Path):
    told: list[str] = []
    verifier = Verifier(directory, None, scratch, told.append)
    return verifier.diagnose(*verifier.rerun())


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("sound"))


def test_a_run_made_again_has_the_same_links(sound, tmp_path):
    again, folder = Verifier(sound, None, tmp_path, print).rerun()
    assert again.chain == record.recorded(sound).chain
    assert verification.foreign(record.recorded(sound), again) == []
    assert verification.compare(again, again, (folder, folder)) is None


def test_a_changed_link_is_found_in_the_record_itself(sound, tmp_path):
    run = json.loads((sound / "run.json").read_text())
    run["chain"][2] = f"{int(run['chain'][2], 16) ^ 1:064x}"
    elsewhere_ = tmp_path / "run"
    elsewhere_.mkdir()
    for path in ("history.csv", "digests.csv"):
        (elsewhere_ / path).write_bytes((sound / path).read_bytes())
    (elsewhere_ / "run.json").write_text(json.dumps(run))
    found = finding(elsewhere_, tmp_path)
    assert found.interval == 2
    assert found.cause.startswith("the record: the link itself was changed")


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
