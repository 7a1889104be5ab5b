"""A small campaign in every test run, and the big one of 200 kills with ``-m campaign``."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.harness.runtime import filesystem
from experiments.harness.spec import UserError
from experiments.harness.storage import checkpoint
from tests import campaign
from tests.harness.storage.test_checkpoint import at
from tests.helpers import save_traps
from tests.helpers.fault_injection import DAMAGE, KINDS, Fault, Outcome

FEW = [
    Fault("SIGKILL within a save", ("half", "state", "4")),
    Fault("disk full within a save", ("half", "run.json", "1")),
    Fault("files damaged", ("newest", "flip"), 0.4),
]
OTHERS = [  # test_reproduce.py kills, interrupts and starts a second process, too
    Fault("SIGKILL at any moment", at=0.5),
    Fault("SIGINT within a save", ("written", "state", "2")),
    Fault("SIGINT or SIGTERM at any moment", ("SIGTERM",), 0.6),
    Fault("disk full at any moment", at=0.7),
    Fault("two processes"),
]


@pytest.mark.parametrize("faults", [FEW, pytest.param(FEW + OTHERS, marks=pytest.mark.slow)])
def test_a_run_disturbed_by_each_kind_of_fault_ends_with_the_same_bits(tmp_path, faults):
    result = campaign.campaign([faults], 1, tmp_path)
    unclear = [outcome for outcome in result["outcomes"] if outcome["unclear"]]
    assert result["right"], unclear or result["table"]
    counts = {row["fault"]: row["count"] for row in result["table"]}
    assert all(counts[fault.kind] for fault in faults)


def test_every_kind_of_fault_is_tried():
    assert {fault.kind for fault in FEW + OTHERS} | {"run again to the end"} == set(KINDS)


def test_an_interrupted_campaign_resumes(tmp_path, monkeypatch):
    spec = SimpleNamespace(environment={})
    run = SimpleNamespace(spec=spec, fingerprint="b", chain="ab", commit="c", intervals=1)
    reference = SimpleNamespace(seconds=1.0, run=run)
    started = []

    def disturb_run(plan, _reference, _folder):
        started.append(plan)
        if len(started) == 2:
            time.sleep(0.5)  # the first is recorded before
            raise KeyboardInterrupt
        return [Outcome(fault, True, -9, 1, 0, False, "", 1.0) for fault in plan]

    monkeypatch.setattr(campaign, "train_reference", lambda _: reference)
    monkeypatch.setattr(campaign, "disturb_run", disturb_run)
    journal, plans = tmp_path / "journal", [[fault] for fault in FEW[:3]]
    with pytest.raises(KeyboardInterrupt):
        campaign.campaign(plans, 1, tmp_path, journal)
    journal.write_text(journal.read_text() + "[1, [{")  # killed while writing
    result = campaign.campaign(plans, 1, tmp_path, journal)
    assert started.count(plans[0]) == 1
    assert started[-2:] == plans[1:]
    assert [each["fault"]["kind"] for each in result["outcomes"]] == [f.kind for f in FEW[:3]]
    with pytest.raises(UserError, match="another campaign"):
        campaign.campaign(plans[:1], 1, tmp_path, journal)


@pytest.mark.campaign
def test_two_hundred_kills_lose_nothing(tmp_path):
    plans = campaign.plan(kills=200, seed=0)
    assert campaign.campaign(plans, os.cpu_count() or 1, tmp_path)["right"]


def test_a_plan_has_the_given_number_of_kills_and_some_at_every_step_of_a_save():
    plans = campaign.plan(kills=200, seed=3)
    assert plans == campaign.plan(kills=200, seed=3)
    planned = [fault for row in plans for fault in row]
    assert sum(fault.kind.startswith("SIGKILL") for fault in planned) == 200
    struck = {fault.what[:2] for fault in planned if fault.kind == "SIGKILL within a save"}
    assert struck == {*campaign.STEPS}
    assert {fault.kind for fault in planned} | {"run again to the end"} == set(KINDS)


def test_saving_visits_every_moment_of_a_trap(tmp_path, monkeypatch):
    for owner, name in (
        (filesystem, "atomic_replace"),
        (filesystem, "_sync"),
        (Path, "replace"),
        (Path, "unlink"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # restored at the end
    visits = []

    class Recorder(save_traps.Trap):
        def visit(self, moment, path):
            visits.append((moment, path.name))

    save_traps.install(Recorder(save_traps.kill, "before", "state", 1))
    for interval in range(4):
        checkpoint.save(at(interval), tmp_path)
    assert [moment for moment, name in visits if name == "000002"] == [*save_traps.MOMENTS]
    assert [moment for moment, name in visits if name == "000001"][-2:] == [*save_traps.DELETION]


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_damage_changes_a_file(how, share):
    assert DAMAGE[how](bytes(range(100)), share) != bytes(range(100))
