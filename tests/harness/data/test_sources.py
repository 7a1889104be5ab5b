"""A run's data is found where it was, as long as it is the same."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments.harness.data import mnist, sources
from experiments.harness.spec import Run, UserError
from experiments.harness.storage import run_record
from tests.harness.data.test_faces import write_folder
from tests.helpers.environment import ENVIRONMENT
from tests.helpers.planning import plan_specs

DIGITS = mnist.load("digits")[0]


def save(path, shift=0):
    arrays = {name: getattr(DIGITS, name) for name in mnist.ARRAYS}
    np.savez(path, **arrays | {"x_test": DIGITS.x_test - shift})


def spec_of(path, experiment="alexnet_lr_decay", arm="fixed_rate", suffix=""):
    name = sources.dataset_for_source(str(path))
    dataset, _ = sources.load(name, f"{path}{suffix}")
    (spec,) = plan_specs(experiment, [arm], [0], {}, ENVIRONMENT, dataset)
    return replace(spec, data_source=sources.absolute_path(f"{path}{suffix}"))


@pytest.mark.parametrize("suffix", ["", ":validation"])
def test_a_run_finds_its_data_in_any_working_directory(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    save("own.npz")
    spec = spec_of("own.npz", suffix=suffix)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert sources.load_recorded(spec, None).sha256 == spec.dataset["sha256"]


def test_a_run_finds_its_folder_of_pictures(tmp_path):
    spec = spec_of(write_folder(tmp_path / "own"), "weights_or_biases", "as_documented")
    assert sources.load_recorded(spec, None).sha256 == spec.dataset["sha256"]


def test_data_that_is_gone_or_changed_is_reported_in_one_line(tmp_path):
    save(tmp_path / "own.npz")
    spec = spec_of(tmp_path / "own.npz")
    save(tmp_path / "own.npz", shift=1)
    with pytest.raises(UserError, match=r"was trained on own.npz \(sha256 .*, but .*with --data"):
        sources.load_recorded(spec, None)
    save(tmp_path / "moved.npz")
    assert sources.load_recorded(spec, str(tmp_path / "moved.npz")).name == "moved.npz"
    (tmp_path / "own.npz").unlink()
    with pytest.raises(UserError, match=r"own\.npz, which is gone; give its path with --data"):
        sources.load_recorded(spec, None)
    with pytest.raises(UserError, match=r"was trained on own\.npz; give its path with --data"):
        sources.load_recorded(replace(spec, data_source=None), None)
    with pytest.raises(UserError, match="--data is empty"):
        sources.load_recorded(spec, "")


def test_built_in_data_is_found_by_its_name_if_its_copy_is_gone_or_changed(tmp_path):
    (spec,) = plan_specs("alexnet_lr_decay", ["fixed_rate"], [0], {}, ENVIRONMENT, DIGITS)
    save(tmp_path / "changed.npz", shift=1)
    for name in ("changed.npz", "gone.npz"):
        moved = replace(spec, data_source=str(tmp_path / name))
        assert sources.load_recorded(moved, None).sha256 == DIGITS.sha256


def test_the_record_has_the_source_and_older_ones_are_read_without(tmp_path):
    save(tmp_path / "own.npz")
    spec = spec_of(tmp_path / "own.npz")
    run_record.save(Run(spec, chain=("0" * 64,), digests=({},)), tmp_path)
    assert run_record.read(tmp_path).spec.data_source == str(tmp_path / "own.npz")
    payload = json.loads((tmp_path / "run.json").read_text())
    for value, expected in ((None, None), (3, UserError), ("gone\0", "gone\0")):
        (tmp_path / "run.json").write_text(json.dumps(payload | {"data_source": value}))
        if expected is UserError:
            with pytest.raises(UserError, match="data_source is not a path"):
                run_record.read(tmp_path)
            continue
        run = run_record.read(tmp_path)
        assert run.spec.data_source == expected
        with pytest.raises(UserError, match="give its path"):
            sources.load_recorded(run.spec, None)
    del payload["data_source"]
    (tmp_path / "run.json").write_text(json.dumps(payload))
    assert run_record.read(tmp_path).spec.data_source is None
