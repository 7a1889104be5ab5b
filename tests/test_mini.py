"""The main experiment on real MNIST; takes minutes, so only with ``-m slow``."""

import json
from math import isfinite
from pathlib import Path

import pytest

from experiments import reproduce
from experiments.harness.data import mnist
from experiments.harness.storage import run_record

COPIES = [Path(__file__).parents[2] / "shared/data/mnist.npz", mnist._keras_cache()]


@pytest.mark.slow
def test_only_the_fixed_rate_turns_nan(tmp_path, capsys):
    real = next((copy for copy in COPIES if copy.exists()), None)
    if real is None:
        pytest.skip("real MNIST is not available")
    argv = ["alexnet_lr_decay", "--scale", "mini", "--data", str(real), "--logdir", str(tmp_path)]
    assert reproduce.main([*argv, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert all(claim["verdict"] in ("REPRODUCED", "DIFFERS") for claim in result["claims"])
    runs = {
        path.parents[1].name: run_record.read(path.parent) for path in tmp_path.rglob("run.json")
    }
    finite = {arm: all(map(isfinite, run.history["loss"])) for arm, run in runs.items()}
    assert finite == {"as_documented": False, "decayed_rate": True, "stable_loss": True}
    assert runs["decayed_rate"].history["test_accuracy"][-1] > 0.85
