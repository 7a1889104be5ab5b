from matplotlib.image import imread

from experiments import catalog
from experiments.harness.reporting import plots
from experiments.harness.spec import History, Run, RunSpec


def test_values_without_a_logarithm_are_drawn_without_a_warning(tmp_path):
    experiment = catalog.load("weights_or_biases")
    arm = next(iter(experiment.at["mini"]))
    data = {"name": "none", "stand_in": False}
    spec = RunSpec(experiment.name, arm, experiment.at["mini"][arm], 0, "mini", data, {}, {})
    columns = {panel.column: (0.0, 0.0) for panel in plots.DEFAULT_PANELS}
    history = History.from_columns({"step": (1, 2), "loss": (0.0, 0.0), **columns})
    runs = [Run(spec, history=history)]
    plots._write(plots.DEFAULT_PANELS, {arm: arm}, {arm: runs}, {}, "zeros", tmp_path / "zeros.png")
    assert imread(tmp_path / "zeros.png").std() > 0.01
