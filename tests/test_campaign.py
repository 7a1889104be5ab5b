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
    Fault("SIGKILL at any moment", at=0.5),
    Fault("SIGKILL within a save", ("half", "state", "3")),
    Fault("disk full within a save", ("half", "run.json", "1")),
    Fault("files damaged", ("newest", "flip"), 0.4),
    Fault("SIGINT or SIGTERM at any moment", ("SIGTERM",), 0.6),
    Fault("SIGINT within a save", ("written", "state", "2")),
    Fault("disk full at any moment", at=0.7),
    Fault("two processes"),
]


def test_a_run_that_suffers_a_fault_of_each_kind_ends_in_the_same_bits(tmp_path):
    told = campaign.campaign([FEW], 1, tmp_path)
    assert told["right"], [each for each in told["outcomes"] if each["unclear"]] or told["table"]
    assert {fault.kind for fault in FEW} | {"run again to the end"} == set(KINDS)
    assert all(row["count"] for row in told["table"] if row["fault"] != "run again to the end")


def test_a_campaign_that_is_ended_goes_on_where_it_stood(tmp_path, monkeypatch):
    run = SimpleNamespace(fingerprint="b", chain="ab", commit="c", intervals=1, environment={})
    whole = SimpleNamespace(seconds=1.0, run=run)
    suffered = []

    def suffer(plan, _whole, _folder):
        suffered.append(plan)
        if len(suffered) == 2:
            time.sleep(0.5)  # the first is told before
            raise KeyboardInterrupt
        return [Outcome(fault, True, -9, 1, 0, False, "", 1.0) for fault in plan]

    monkeypatch.setattr(campaign, "undisturbed", lambda _: whole)
    monkeypatch.setattr(campaign, "suffer", suffer)
    kept, plans = tmp_path / "kept", [[fault] for fault in FEW[:3]]
    with pytest.raises(KeyboardInterrupt):
        campaign.campaign(plans, 1, tmp_path, kept)
    kept.write_text(kept.read_text() + "[1, [{")  # killed as it wrote
    told = campaign.campaign(plans, 1, tmp_path, kept)
    assert suffered.count(plans[0]) == 1
    assert suffered[-2:] == plans[1:]
    assert [each["fault"]["kind"] for each in told["outcomes"]] == [f.kind for f in FEW[:3]]
    with pytest.raises(UserError, match="another campaign"):
        campaign.campaign(plans[:1], 1, tmp_path, kept)


@pytest.mark.campaign
def test_two_hundred_kills_lose_nothing(tmp_path):
    plans = campaign.plan(kills=200, seed=0)
    assert campaign.campaign(plans, os.cpu_count() or 1, tmp_path)["right"]


def test_a_plan_kills_as_often_as_asked_and_within_every_step_of_a_save():
    plans = campaign.plan(kills=200, seed=3)
    assert plans == campaign.plan(kills=200, seed=3)
    planned = [fault for row in plans for fault in row]
    assert sum(fault.kind.startswith("SIGKILL") for fault in planned) == 200
    struck = {fault.what[:2] for fault in planned if fault.kind == "SIGKILL within a save"}
    assert struck == {*campaign.STEPS}
    assert {fault.kind for fault in planned} | {"run again to the end"} == set(KINDS)


def test_saving_visits_every_moment_that_a_trap_can_be_laid_at(tmp_path, monkeypatch):
    for owner, name in (
        (filesystem, "replacing"),
        (filesystem, "_sync"),
        (Path, "replace"),
        (Path, "unlink"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back at the end
    visits = []

    class Recorder(save_traps.Trap):
        def visit(self, moment, path):
            visits.append((moment, path.name))

    save_traps.lay(Recorder(save_traps.kill, "before", "state", 1))
    for interval in range(4):
        checkpoint.save(at(interval), tmp_path)
    assert [moment for moment, name in visits if name == "000002"] == [*save_traps.MOMENTS]
    assert [moment for moment, name in visits if name == "000001"][-2:] == [*save_traps.DELETION]


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_damage_changes_a_file(how, share):
    assert DAMAGE[how](bytes(range(100)), share) != bytes(range(100))
