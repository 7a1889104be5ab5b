"""Every nth of the planned runs, and the finished runs of such shards put together."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments import catalog
from experiments.harness.spec import History, Run, UserError
from experiments.harness.storage import run_directory, run_record
from experiments.harness.study import run_one, shards, train_task
from experiments.harness.study.plan import StudyRequest, plan_study
from tests.helpers.corrupted_runs import TINY
from tests.helpers.environment import ENVIRONMENT
from tests.helpers.planning import NO_DATA


def plan(experiment="alexnet_lr_decay", overrides=TINY):
    request = StudyRequest(catalog.load(experiment), "mini", None, (0, 1), (), overrides)
    return plan_study(request, ENVIRONMENT, lambda *_: (NO_DATA, None))


def save_run(spec, logdir: Path, status: str = "complete", first: int = 0) -> Path:
    directory = run_directory.directory_of(spec, logdir)
    (directory / "state").mkdir(parents=True)
    (directory / "state" / "000001").write_bytes(b"a state")
    row = {"step": 0, "loss": 1.0, "test_loss": 1.0}
    chain = tuple(f"{first + k:064x}" for k in range(2))
    run_record.save(Run(spec, status, {}, History((row,)), chain, ({},) * 2), directory)
    return directory


def paths(studies) -> list[Path]:
    return [run_directory.directory_of(spec, Path()) for each in studies for spec in each.specs]


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_shards_have_every_run_once_and_only_a_whole_study_covers_everything(count):
    study = replace(plan(), covers_everything=True)
    parts = [shards.select([study, study], (index, count)) for index in range(1, count + 1)]
    everywhere = [{*paths(part)} for part in parts]
    assert sum(map(len, everywhere)) == len({*paths([study])}) == 6
    assert set().union(*everywhere) == {*paths([study])}
    assert max(map(len, everywhere)) - min(map(len, everywhere)) <= 1
    assert all(each.covers_everything == (count == 1) for part in parts for each in part)


def test_merged_shards_have_all_finished_runs_and_their_files(tmp_path, caplog):
    caplog.set_level("INFO", logger="rerun_zoo")
    study, folders = plan(), [tmp_path / "1", tmp_path / "2"]
    for index, spec in enumerate(study.specs):
        save_run(spec, folders[index % 2], "interrupted" if index == 5 else "complete")
    save_run(study.specs[0], tmp_path / "all", "interrupted")
    (merged,) = shards.merge([study], tmp_path / "all", folders)
    assert paths([merged]) == paths([study])[:5]
    assert caplog.messages == ["1 of 6 runs are missing from these shards"]
    for spec in merged.specs:
        found = run_one.load_existing(spec, tmp_path / "all")
        assert found.status == "complete"
        directory = run_directory.directory_of(spec, tmp_path / "all")
        assert (directory / "state" / "000001").read_bytes() == b"a state"
    (again,) = shards.merge([study], tmp_path / "all", [])
    assert paths([again]) == paths([merged])


def test_shards_that_disagree_on_a_run_are_refused(tmp_path):
    study = plan()
    for number in (1, 2):
        save_run(study.specs[0], tmp_path / f"{number}", first=number)
    with pytest.raises(UserError, match="have other fingerprints"):
        shards.merge([study], tmp_path / "all", [tmp_path / "1", tmp_path / "2"])


def test_a_planned_run_survives_its_way_through_json():
    for name in catalog.names():
        for spec in plan(name, {}).specs:
            there = train_task.spec_from_json(train_task.spec_to_json(spec))
            assert there.identity() == spec.identity()
            assert (there.title, there.overrides) == (spec.title, spec.overrides)
    lists, tuples = plan(), plan(overrides={**TINY, "network.widths": (2, 2, 8)})
    assert train_task.spec_to_json(lists.specs[0])
    with pytest.raises(UserError, match="lists instead of tuples"):
        train_task.spec_to_json(tuples.specs[0])
