"""0, an empty text and an empty list are values: none of them is silently the default."""

import itertools

import numpy as np
import pytest

import experiments
from experiments import benchmark, replay, reproduce, tune, verify
from experiments.harness.data import mnist
from experiments.harness.runtime import subprocesses
from experiments.harness.storage import run_record
from tests.helpers.corrupted_runs import TINY
from tests.helpers.shared_processes import call_here

NAME = "alexnet_lr_decay"
OPTIONS = {"scale": "mini", "arms": "fixed_rate", "data": "digits", "overrides": TINY}
OPTIONS |= {"telemetry_every": 0}
TUNE = ["init_std_sweep", "--scale", "mini", "--data", "digits"]


@pytest.mark.parametrize("seeds", [0, np.array(0), np.zeros(1, int)])
def test_one_seed_is_that_seed_and_not_all(seeds, tmp_path):
    result = experiments.run(NAME, **OPTIONS, seeds=seeds, logdir=tmp_path, stop_after=1)
    assert [run.spec.seed for run in result.runs] == [0]


def test_several_seeds_may_be_an_array_or_an_iterator(tmp_path):
    options = {**OPTIONS, "logdir": tmp_path, "stop_after": 1}
    for seeds in (np.array([1, 0]), iter([1, 0]), (k for k in (1, 0, 1))):
        runs = experiments.run(NAME, **options, seeds=seeds).runs
        assert [run.spec.seed for run in runs] == [1, 0]
    (run,) = experiments.run(NAME, **options, seeds=1).runs
    assert run.spec.seed == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({name: value}, f"{name} is empty; leave it out") for name, value in itertools.product(
            ("arms", "seeds", "data"), ("", [], (), [""], np.array([], int), iter([])))),
        ({"seeds": -1}, "a seed must be"),
        ({"seeds": 0.5}, "a seed must be"),
        ({"seeds": True}, "a seed must be"),
        ({"seeds": "0"}, "a seed must be"),
        ({"arms": 0}, "arms are named by strings"),
        ({"scale": ""}, "has no scale ''"),
        ({"jobs": 0}, "jobs must be 1 or more"),
        ({"stop_after": 0}, "stop_after must be 1 or more"),
        ({"telemetry_every": -1}, "telemetry_every must be 0 or more"),
    ],
)  # fmt: skip
def test_nothing_is_an_error_in_one_line_and_trains_nothing(options, message, tmp_path):
    with pytest.raises(experiments.UserError, match=message) as error:
        experiments.run(NAME, **{"seeds": [0], **OPTIONS, **options}, logdir=tmp_path)
    assert "\n" not in str(error.value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("command", "argv", "message"),
    [
        (reproduce, [NAME, "--arm", ""], "has no arm ''"),
        (reproduce, [NAME, "--scale", "mini", "--data", ""], "--data is empty"),
        (reproduce, ["", "--all"], "name an experiment, or use --all"),
        (tune, [*TUNE, "--arm", ""], "has no arm ''"),
        (tune, [*TUNE, "--name", ""], "--name is empty"),
        (tune, [*TUNE[:3], "--data", ""], "--data is empty"),
        (benchmark, ["--data", ""], "--data is empty"),
        (verify, ["--self-test", "--data", ""], "--data applies only to RUN_DIR"),
    ],
)
def test_an_empty_flag_is_reported_in_one_line(command, argv, message, tmp_path, capsys):
    logdir = [] if command in (benchmark, verify) else ["--logdir", str(tmp_path)]
    assert command.main([*argv, *logdir]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_seed_zero_of_a_command_is_a_seed():
    argv = [NAME, "--arm", "fixed_rate", "--scale", "mini", "--seed", "0", "--dry-run"]
    args = reproduce.parser().parse_args(argv)
    assert reproduce.request(reproduce.selected(args)[0], args).distinct_seeds() == [0]
    args = tune.parser().parse_args([*TUNE, "--seed", "0"])
    assert args.seed == 0


def test_a_run_finds_its_data_where_it_was(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(subprocesses, "call", call_here)
    digits = mnist.load("digits")[0]
    np.savez(tmp_path / "own.npz", **{name: getattr(digits, name) for name in mnist.ARRAYS})
    options = {**OPTIONS, "data": tmp_path / "own.npz", "seeds": 0, "logdir": tmp_path}
    experiments.run(NAME, **options, stop_after=1)
    (record,) = tmp_path.rglob("run.json")
    assert run_record.read(record.parent).spec.data_source == str(tmp_path / "own.npz")
    assert replay.main([str(record.parent), "--step", "1"]) == 0
    assert verify.main([str(record.parent)]) == 0
    assert replay.main([str(record.parent), "--step", "1", "--data", ""]) == 2
    assert "--data is empty" in capsys.readouterr().err
    (tmp_path / "own.npz").unlink()
    assert replay.main([str(record.parent), "--step", "1"]) == 2
    assert "own.npz, which is gone; give its path with --data" in capsys.readouterr().err
