"""What every experiment in the catalogue must satisfy."""

import importlib
import json
import re
from pathlib import Path

import keras
import pytest

from experiments import catalog, reproduce
from experiments.harness.spec import UserError

EXPERIMENTS = [catalog.load(name) for name in catalog.names()]
BUILT = {  # what decides how a model is built and compiled, once for all arms that share it
    json.dumps([arm.network, arm.loss, arm.optimizer, arm.metrics, arm.frozen]): arm
    for experiment in EXPERIMENTS
    for scale, arms in experiment.at.items()
    for name, arm in arms.items()
    if arm.network["class_name"] != "deep_cnn" or name in experiment.at["mini"]
}


def test_there_are_experiments_and_an_unknown_one_is_a_user_error():
    assert EXPERIMENTS
    with pytest.raises(UserError, match="did you mean 'alexnet_lr_decay'"):
        catalog.load("alexnet_lr_decoy")


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_it_is_complete(experiment):
    module = importlib.import_module(f"experiments.catalog.{experiment.name}")
    assert f"python -m experiments.reproduce {experiment.name}" in module.__doc__
    assert experiment.question.endswith("?")
    assert experiment.document
    assert experiment.deviations
    assert experiment.claims
    assert set(experiment.cost) == {"mini", "full"}
    assert {arm.role for arm in experiment.arms.values()} <= {"documented", "diagnosis"}
    assert set(experiment.documented) <= set(experiment.arms)
    for reported in experiment.documented.values():
        assert all(len(row) == len(reported.columns) for row in reported.rows.values())


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_the_documents_own_numbers_fall_within_the_bounds_at_full_scale(experiment):
    for claim in experiment.claims:
        for scale in ("full", "mini"):
            low, high = claim.bounds_at(scale)
            assert low <= high
        if re.fullmatch(r"[\d.]+", claim.documented):
            low, high = claim.bounds
            assert low <= float(claim.documented) <= high, claim.text


@pytest.mark.parametrize("arm", BUILT.values(), ids=lambda arm: arm.about)
def test_every_arm_can_be_built_and_compiled(arm):
    from experiments.harness.model.build import build_compiled

    model = build_compiled(arm)
    assert model.compiled
    assert model.count_params() > 0
    assert bool(model.non_trainable_weights) >= bool(arm.frozen)
    keras.backend.clear_session()


def test_an_experiment_is_one_new_file_and_nothing_else(tmp_path, monkeypatch, capsys):
    """CONTRIBUTING's walk-through, as written there, in a temporary folder."""
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(source.splitlines()) < 70
    (tmp_path / "batch_size.py").write_text(source)
    monkeypatch.setattr(catalog, "__path__", [*catalog.__path__, str(tmp_path)])
    assert "batch_size" in catalog.names()
    argv = ["batch_size", "--scale", "mini", "--data", "digits", "--seed", "0"]
    argv += ["--set", "intervals=2", "steps=3", "--logdir", str(tmp_path / "logs")]
    assert reproduce.main(argv) == 0
    out = capsys.readouterr().out
    assert "REPRODUCED" in out or "REFUTED" in out
    assert (tmp_path / "logs/batch_size/mini").is_dir()
