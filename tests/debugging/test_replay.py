"""Replayed steps are exact, from saved or recomputed checkpoints; a NaN is explained."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments import replay as command
from experiments.debugging import report
from experiments.debugging.replay import open_replay
from experiments.debugging.step_tensors import step_tensors
from experiments.harness.model import build, variables
from experiments.harness.reporting import tables
from experiments.harness.storage import run_directory, run_record
from experiments.harness.training.stepper import Step
from tests.harness.training.test_stepper import same, train_recorded
from tests.harness.training.test_trainer import DIGITS, plan_run, train
from tests.helpers.corrupted_runs import TINY_ALEXNET
from tests.helpers.environment import ENVIRONMENT

PLAIN = plan_run(intervals=4)
LARGE = {"class_name": "RandomNormal", "config": {"stddev": 1.0}}
UNDERFLOW = {"network.kernel_initializer": LARGE, "intervals": 2}
OVERFLOW = {"optimizer.learning_rate": 1e9, "intervals": 2}


def read_files(directory) -> dict:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a run's directory and its variables after every step."""
    directory = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patched:
        _, after = train_recorded(PLAIN, directory, DIGITS, patched)
    return directory, after


def open_recorded(directory, environment=ENVIRONMENT):
    return open_replay(run_record.read(directory), directory, DIGITS, environment)


def test_any_step_is_replayed_exactly_and_the_directory_only_read(finished):
    directory, after = finished
    before = read_files(directory)
    assert {path.name for path in (directory / "state").iterdir()} == {"000000", "000003", "000004"}
    with open_recorded(directory) as replay:
        for number in (2, 8, 4, 12):  # of intervals 1, 3, 2 and 4
            inspected = replay.inspect(number)
            assert inspected.step.number == number
            assert same(inspected.step.after, after[number - 1])
            if number > 1:
                assert same(inspected.step.before, after[number - 2]) or number % 3 == 1
            assert inspected.nan_cause is None
        assert replay.doubts == []
        assert replay.first_nonfinite() is None
    assert read_files(directory) == before


def test_the_tensors_are_those_of_the_step(finished):
    """Plain SGD's update is the rate times the gradient; with other masks it would differ."""
    directory, _ = finished
    with open_recorded(directory) as replay:
        inspected = replay.inspect(8)
    step = inspected.step
    values = {(tensor.kind, tensor.name): tensor.value for tensor in inspected.tensors}
    gradients = {name: value for (kind, name), value in values.items() if kind == "gradient"}
    assert "output/kernel" in gradients
    for name, gradient in gradients.items():
        update = values["update", name]
        np.testing.assert_allclose(update, -4e-3 * gradient, rtol=0.02, atol=1e-6)
    assert values["loss", "batch"] == pytest.approx(step.loss, rel=1e-4)
    assert values["loss", "each_sample"].sum() == pytest.approx(step.loss, rel=1e-4)
    dropped = values["activation", "fc1_dropout"] == 0
    assert dropped.mean() > (values["activation", "fc1_relu"] == 0).mean()
    np.testing.assert_array_equal(step.batch[1], DIGITS.y_train[step.indices])


def test_an_underflow_before_a_bare_log_is_explained_with_its_sample(tmp_path):
    run = train(plan_run(arm="fixed_rate", **UNDERFLOW), tmp_path)
    directory = run_directory.directory_of(run.spec, tmp_path)
    assert np.isnan(run.history["loss"][0])
    with open_recorded(directory) as replay:
        inspected = replay.first_nonfinite()
        payload = report.summary(replay, inspected)
    step, cause, sample = inspected.step, inspected.nan_cause, inspected.nan_cause["sample"]
    assert (step.number, cause["kind"], cause["tensor"]) == (1, "term", "log")
    assert "underflowed to zero" in cause["why"]
    assert cause["trace"]["softmax"] == 0
    assert cause["trace"]["log"] == -np.inf
    assert sample["gap"] == sample["largest_output"] - sample["smallest_output"] > 87
    assert DIGITS.y_train[sample["in_training_split"]] == sample["label"]
    assert step.indices[sample["in_batch"]] == sample["in_training_split"]
    text = report.text(payload)
    assert f"step 1, in interval 1: loss {step.loss:.8g}" in text
    assert ("the step's own loss is" in text) == (not np.isnan(step.loss))
    assert f"{sample['in_training_split']} in the training split" in text
    argv = [str(directory), "--data", "digits", "--first-nonfinite", "--keep"]
    assert command.main(argv) == 0
    saved = (directory / run_directory.NAN_CAUSE_FILE).read_text()
    assert saved == report.headline(payload) + "\n"
    row = {"arm": "a", "seed": 0, "intervals": 1, "status": "complete", "seconds": 1}
    row |= {"fingerprint": "f", "started": "2026-11-27T15:57:01+00:00"}
    cpu = {"environment": {"threads": 1}}
    table = tables.recorded_runs({**cpu, "runs": [{**row, "nan_cause": saved}]})
    assert f"step 1, in interval 1: loss {step.loss:.8g}; term 'log' (" in table
    assert "a softmax output underflowed to zero" in table
    assert ("the step's own loss is" in table) == (not np.isnan(step.loss))
    late = report.headline({**payload, "losses_before": [9.0, 1.0, 2.0, 3.0, 50.0, 60.0]})
    before = "losses 1, 2, 3, 50, 60 in the steps before; median of the interval 6"
    assert late == f"{report.headline(payload)}\nbefore       {before}"
    table = tables.recorded_runs({**cpu, "runs": [{**row, "nan_cause": late}]})
    assert before in table


def test_an_overflow_is_explained(tmp_path):
    run = train(plan_run(arm="fixed_rate", **OVERFLOW), tmp_path)
    with open_recorded(run_directory.directory_of(run.spec, tmp_path)) as replay:
        inspected = replay.first_nonfinite()
    assert inspected.nan_cause["kind"] in ("activation", "gradient", "term")
    assert inspected.step.number <= 3
    assert len(inspected.losses_before) == inspected.step.number - 1
    assert np.isfinite(inspected.losses_before).all()


def test_the_inputs_of_batch_norm_include_its_averages_before_the_step():
    spec = plan_run(arm="fixed_rate", tiny=TINY_ALEXNET, **{"network.norm": "batch"})
    model = build.build_compiled(spec.arm)
    before, indices = variables.read(model), np.arange(4)
    step = Step(1, indices, DIGITS.train(indices), 0.0, before, before)
    (output,) = (tensor for tensor in step_tensors(model, step) if tensor.name == "conv1_bn")
    found = {values.tobytes() for values in output.inputs}
    assert found >= {v.tobytes() for path, v in before.items() if path.startswith("conv1_bn/")}


def test_in_another_environment_a_replay_is_not_exact(finished):
    directory, _ = finished
    with open_recorded(directory, environment=ENVIRONMENT | {"threads": 1000}) as replay:
        inspected = replay.inspect(2)
        payload = report.summary(replay, inspected)
    assert payload["exact"] is False
    assert "environment: threads" in payload["doubts"][0]
    assert "NOT EXACT" in report.text(payload)


def test_checkpoints_of_another_backend_are_not_used(finished):
    directory, _ = finished
    with open_recorded(directory, environment=ENVIRONMENT | {"backend": "abacus"}) as replay:
        replay.inspect(12)
    assert replay.saved == ()


@pytest.mark.parametrize(("step", "before"), [(8, 2), (11, 3)])  # recomputed, and saved
def test_bits_that_differ_from_the_record_are_reported(finished, step, before):
    directory, _ = finished
    run = run_record.read(directory)
    run = replace(run, chain=(*run.chain[:before], "other", *run.chain[before + 1 :]))
    with open_replay(run, directory, DIGITS, ENVIRONMENT) as replay:
        replay.inspect(step)
    assert replay.doubts == [f"the bits after {before} intervals differ from the recorded ones"]


def test_a_batch_that_differs_from_the_record_is_reported(finished):
    directory, _ = finished
    run = run_record.read(directory)
    arm = replace(run.spec.arm, held_out=5)
    run = replace(run, spec=replace(run.spec, arm=arm))
    with open_replay(run, directory, DIGITS, ENVIRONMENT) as replay:
        replay.inspect(2)
    assert replay.doubts == ["the batch of step 2 differs from the recorded one"]


def test_the_command_prints_tables_json_and_a_picture(finished, tmp_path, capsys):
    from PIL import Image

    directory, _ = finished
    picture = tmp_path / "batch.png"
    argv = [str(directory), "--data", "digits", "--step", "8"]
    assert command.main([*argv, "--images", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "step 8, in interval 3" in out
    assert "conv1_relu" in out
    with Image.open(picture) as image:
        assert image.size == (3 * 29 - 1, 3 * 29 - 1)
    assert command.main([*argv, "--json"]) == 0
    payload = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (payload["step"], payload["exact"], len(payload["batch"]["indices"])) == (8, True, 8)
    kinds = [tensor["kind"] for tensor in payload["tensors"]]
    assert list(dict.fromkeys(kinds)) == list(report.TITLES)
    assert command.main([*argv[:3], "--first-nonfinite"]) == 0
    assert "all training steps of the run were finite" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["{tmp}", "--step", "1"], "holds no run"),
        (["{run}", "--step", "13"], "the run has steps 1 to 12"),
        (["{run}", "--step", "0"], "the run has steps 1 to 12"),
        (["{run}", "--step", "1", "--data", "frames"], "--data frames is for frames"),
        (["{run}", "--step", "1", "--data", "{other}"], "the run was trained on digits"),
        (["{run}", "--step", "1", "--data", "no/such.npz"], "no file no/such.npz"),
        (["{run}", "--step", "1", "--data", "digits", "--images", "no/such/a.png"], "cannot write"),
        (["{run}", "--step", "1", "--keep"], "--keep applies only to --first-nonfinite"),
        (["{damaged}", "--step", "1"], "run.json is damaged"),
    ],
)
def test_bad_use_is_one_clear_line_and_exit_code_2(finished, argv, message, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "run.json").write_text("{")
    other = tmp_path / "other.npz"
    arrays = {"x": np.zeros((9, 28, 28), "uint8"), "y": np.zeros(9, "int32")}
    np.savez(other, **{f"{k}_{part}": v for k, v in arrays.items() for part in ("train", "test")})
    places = {"tmp": tmp_path, "run": finished[0], "damaged": damaged, "other": other}
    assert command.main([word.format(**places) for word in argv]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
