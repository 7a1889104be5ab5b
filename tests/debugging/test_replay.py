"""Steps visited again: exact, from states kept or recomputed, and told when not finite."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments import replay as door
from experiments.debugging import report
from experiments.debugging.replay import open_replay
from experiments.debugging.step_tensors import step_tensors
from experiments.harness.model import build, variables
from experiments.harness.storage import run_directory, run_record
from experiments.harness.training.stepper import Step
from tests.harness.training.test_stepper import same, watched
from tests.harness.training.test_trainer import DIGITS, carry_out, planned
from tests.helpers.environment import ENVIRONMENT

PLAIN = planned(intervals=4)
UNDERFLOW = {"network.kernel_initializer.stddev": 0.15, "intervals": 2}
OVERFLOW = {"optimizer.learning_rate": 1e9, "intervals": 2}


def files_of(directory) -> dict:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a run's directory and its variables after every step."""
    directory = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patched:
        _, after = watched(PLAIN, directory, DIGITS, patched)
    return directory, after


def replayed(directory, told=None, environment=ENVIRONMENT):
    run = run_record.load(directory)
    return open_replay(
        run, directory, DIGITS, environment, [].append if told is None else told.append
    )


def test_any_step_is_visited_exactly_and_the_directory_only_read(finished):
    directory, after = finished
    before = files_of(directory)
    assert {path.name for path in (directory / "state").iterdir()} == {"000000", "000003", "000004"}
    told = []
    with replayed(directory, told) as replay:
        for number in (2, 8, 4, 12):  # of intervals 1, 3, 2 and 4
            visit = replay.visit(number)
            assert visit.step.number == number
            assert same(visit.step.after, after[number - 1])
            if number > 1:
                assert same(visit.step.before, after[number - 2]) or number % 3 == 1
            assert visit.story is None
        assert replay.doubts == []
        assert replay.first_nonfinite() is None
    assert files_of(directory) == before


def test_the_tensors_are_those_of_the_step(finished):
    """Plain SGD's update is the rate times the gradient: under other masks it would be another."""
    directory, _ = finished
    with replayed(directory) as replay:
        visit = replay.visit(8)
    made = {(tensor.kind, tensor.name): tensor.value for tensor in visit.made}
    gradients = {name: value for (kind, name), value in made.items() if kind == "gradient"}
    assert "fc2/kernel" in gradients
    for name, gradient in gradients.items():
        update = made["update", name]
        np.testing.assert_allclose(update, -4e-3 * gradient, rtol=0.02, atol=1e-6)
    assert made["loss", "batch"] == pytest.approx(visit.step.loss, rel=1e-4)
    assert made["loss", "each_sample"].sum() == pytest.approx(visit.step.loss, rel=1e-4)
    dropped = made["activation", "fc1_dropout"] == 0
    assert dropped.mean() > (made["activation", "fc1_relu"] == 0).mean()
    np.testing.assert_array_equal(visit.step.batch[1], DIGITS.y_train[visit.step.indices])


def test_a_bare_log_that_meets_an_underflow_is_told_with_its_sample(tmp_path):
    run = carry_out(planned(arm="fixed_rate", **UNDERFLOW), tmp_path)
    directory = run_directory.directory_of(run, tmp_path)
    assert np.isnan(run.history["loss"][0])
    with replayed(directory) as replay:
        visit = replay.first_nonfinite()
        told = report.summary(replay, visit)
    story, sample = visit.story, visit.story["sample"]
    assert (visit.step.number, story["kind"], story["tensor"]) == (1, "term", "log")
    assert "underflowed to zero" in story["why"]
    assert story["trace"]["softmax"] == 0
    assert story["trace"]["log"] == -np.inf
    assert sample["gap"] == sample["largest_output"] - sample["smallest_output"] > 87
    assert DIGITS.y_train[sample["in_training_split"]] == sample["label"]
    assert visit.step.indices[sample["in_batch"]] == sample["in_training_split"]
    text = report.text(told)
    assert f"step 1, in interval 1: loss {visit.step.loss:.8g}" in text
    assert ("the step's own loss is" in text) == (not np.isnan(visit.step.loss))
    assert f"{sample['in_training_split']} of the training split" in text
    words = [str(directory), "--data", "digits", "--first-nonfinite", "--keep"]
    assert door.main(words) == 0
    assert (directory / run_directory.NAN_CAUSE_FILE).read_text() == report.headline(told) + "\n"


def test_an_overflowing_layer_is_told_with_what_it_came_from(tmp_path):
    run = carry_out(planned(arm="fixed_rate", **OVERFLOW), tmp_path)
    with replayed(run_directory.directory_of(run, tmp_path)) as replay:
        visit = replay.first_nonfinite()
    assert visit.story["kind"] in ("activation", "gradient", "term")
    assert visit.step.number <= 3


def test_what_batch_norm_came_from_are_its_averages_before_the_step():
    model = build.build_compiled(planned(arm="fixed_rate", **{"network.norm": "batch"}).arm)
    before, chosen = variables.read(model), np.arange(4)
    step = Step(1, chosen, DIGITS.train(chosen), 0.0, before, before)
    (made,) = (made for made in step_tensors(model, step) if made.name == "conv1_bn")
    found = {values.tobytes() for values in made.sources}
    assert found >= {v.tobytes() for path, v in before.items() if path.startswith("conv1_bn/")}


def test_another_environment_is_told(finished):
    directory, _ = finished
    elsewhere = ENVIRONMENT | {"threads": 1000}
    with replayed(directory, [], environment=elsewhere) as replay:
        visit = replay.visit(2)
        told = report.summary(replay, visit)
    assert told["exact"] is False
    assert "environment: threads" in told["doubts"][0]
    assert "NOT EXACT" in report.text(told)


def test_states_of_another_backend_are_not_used(finished):
    directory, _ = finished
    told = []
    with replayed(directory, told, environment=ENVIRONMENT | {"backend": "abacus"}) as replay:
        replay.visit(12)
    assert replay.kept == ()


@pytest.mark.parametrize(("step", "begun"), [(8, 2), (11, 3)])  # recomputed, and kept
def test_bits_that_are_not_the_records_are_told(finished, step, begun):
    directory, _ = finished
    run = run_record.load(directory)
    run = replace(run, chain=(*run.chain[:begun], "other", *run.chain[begun + 1 :]))
    with open_replay(run, directory, DIGITS, ENVIRONMENT, [].append) as replay:
        replay.visit(step)
    assert replay.doubts == [f"after {begun} intervals the bits are not the record's"]


def test_another_batch_than_the_records_is_told(finished):
    directory, _ = finished
    run = run_record.load(directory)
    run = replace(run, arm=replace(run.arm, held_out=5))
    with open_replay(run, directory, DIGITS, ENVIRONMENT, [].append) as replay:
        replay.visit(2)
    assert replay.doubts == ["the batch of step 2 is not the record's"]


def test_the_door_prints_tables_json_and_a_picture(finished, tmp_path, capsys):
    from PIL import Image

    directory, _ = finished
    picture = tmp_path / "batch.png"
    words = [str(directory), "--data", "digits", "--step", "8"]
    assert door.main([*words, "--images", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "step 8, in interval 3" in out
    assert "conv1_relu" in out
    assert Image.open(picture).size == (3 * 29 - 1, 3 * 29 - 1)
    assert door.main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (told["step"], told["exact"], len(told["batch"]["indices"])) == (8, True, 8)
    kinds = [tensor["kind"] for tensor in told["tensors"]]
    assert list(dict.fromkeys(kinds)) == list(report.TITLES)
    assert door.main([*words[:3], "--first-nonfinite"]) == 0
    assert "no training step of the run was not finite" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{tmp}", "--step", "1"], "holds no run"),
        (["{run}", "--step", "13"], "the run made steps 1 to 12"),
        (["{run}", "--step", "0"], "the run made steps 1 to 12"),
        (["{run}", "--step", "1", "--data", "frames"], "not a source of that"),
        (["{run}", "--step", "1", "--data", "{other}"], "the run was trained on digits"),
        (["{run}", "--step", "1", "--data", "no/such.npz"], "no file no/such.npz"),
        (["{run}", "--step", "1", "--data", "digits", "--images", "no/such/a.png"], "cannot write"),
        (["{run}", "--step", "1", "--keep"], "--keep is for --first-nonfinite"),
        (["{damaged}", "--step", "1"], "run.json is damaged"),
    ],
)
def test_bad_use_is_one_clear_line_and_exit_code_2(finished, words, told, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "run.json").write_text("{")
    other = tmp_path / "other.npz"
    arrays = {"x": np.zeros((9, 28, 28), "uint8"), "y": np.zeros(9, "int32")}
    np.savez(other, **{f"{k}_{part}": v for k, v in arrays.items() for part in ("train", "test")})
    places = {"tmp": tmp_path, "run": finished[0], "damaged": damaged, "other": other}
    assert door.main([word.format(**places) for word in words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
