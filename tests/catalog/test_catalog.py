"""What every experiment in the catalogue must satisfy."""

import importlib
import json
import re
import sys
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
    assert set(experiment.cost) == set(experiment.at)
    assert {arm.role for arm in experiment.arms.values()} <= {"documented", "diagnosis"}
    assert set(experiment.documented) <= set(experiment.arms)
    for reported in experiment.documented.values():
        assert all(len(row) == len(reported.columns) for row in reported.rows.values())


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_the_documents_own_numbers_fall_within_the_bounds_at_full_scale(experiment):
    for claim in experiment.claims:
        for scale in experiment.at:
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
    argv += ["--set", "intervals=2", "steps=3", "--logdir", str(tmp_path / "the logs")]
    assert reproduce.main(argv) == 0
    out = capsys.readouterr().out
    assert "INCONCLUSIVE (runs too short for 1 of 1 seeds" in " ".join(out.split())
    assert (tmp_path / "the logs/batch_size/mini").is_dir()
    assert f"tensorboard --logdir '{tmp_path}/the logs'" in out


BROKEN = {
    "syntax": ("EXPERIMENT = Experiment(\n", "SyntaxError: '(' was never closed"),
    "nothing": ("", "it defines no EXPERIMENT"),
    "type": ("EXPERIMENT = 3\n", "TypeError"),
    "argument": (
        "from experiments.harness.spec import Arm\nEXPERIMENT = Arm(batchsize=3)\n",
        "unexpected keyword argument 'batchsize'",
    ),
    "base": (
        "from dataclasses import replace\n"
        "from experiments.catalog.alexnet_lr_decay import EXPERIMENT\n"
        "from experiments.harness.spec import Variant\n"
        "arms = {**EXPERIMENT.arms, 'new': Variant('fixed_rat')}\n"
        "EXPERIMENT = replace(EXPERIMENT, arms=arms)\n",
        "arm 'new' is a variant of 'fixed_rat', and broken has no such arm; did you mean",
    ),
    "field": (
        "from dataclasses import replace\n"
        "from experiments.catalog.alexnet_lr_decay import EXPERIMENT\n"
        "from experiments.harness.spec import Variant\n"
        "arms = {**EXPERIMENT.arms, 'new': Variant('fixed_rate', {'step': 3})}\n"
        "EXPERIMENT = replace(EXPERIMENT, arms=arms)\n",
        "an arm has no field 'step'",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_in_a_line_and_the_rest_is_listed(
    tmp_path, monkeypatch, capsys, name
):
    source, message = BROKEN[name]
    path = tmp_path / "broken.py"
    path.write_text(source)
    monkeypatch.setattr(catalog, "__path__", [*catalog.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "experiments.catalog.broken", raising=False)
    with pytest.raises(UserError) as error:
        catalog.load("broken")
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert reproduce.main(["--list"]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"reproduce: {error.value}\n"
    assert all(experiment.name in printed.out for experiment in EXPERIMENTS)
    assert reproduce.main(["broken", "--dry-run", "--scale", "mini"]) == 2
    assert capsys.readouterr().err == f"reproduce: {error.value}\n"
    monkeypatch.delitem(sys.modules, "experiments.catalog.broken", raising=False)


def test_a_network_of_one_group_is_the_twin_of_the_network_of_equal_units():
    one_group = catalog.load("unit_groups").at["full"]["one_group"]
    twin = catalog.load("constant_init").at["full"]["width_one_same_epsilon"]
    config, of_twin = one_group.optimizer["config"], twin.optimizer["config"]
    assert config == {**of_twin, "copies": {**of_twin["copies"], "output/bias": 1}}
    for option in ("widths", "stands_for"):
        assert [*one_group.network["config"][option]] == [*twin.network["config"][option]]
