from dataclasses import replace
from math import nan

from matplotlib.figure import Figure
from matplotlib.image import imread

from experiments import catalog
from experiments.harness.reporting import plots
from experiments.harness.spec import History, Panel, Run, RunSpec


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


def test_a_band_goes_on_with_the_seeds_whose_loss_is_finite():
    experiment = catalog.load("weights_or_biases")
    arm = experiment.at["mini"][name := next(iter(experiment.at["mini"]))]
    losses = [(4.0, 3.0, nan, nan), (5.0, 3.0, 2.0, 1.0), (6.0, 6.0, 5.0, 4.0)]
    runs = []
    for seed, values in enumerate(losses):
        spec = RunSpec(experiment.name, name, arm, seed, "mini", {"name": "none"}, {}, {})
        history = History.from_columns({"step": (1, 2, 3, 4), "loss": values, "test_loss": values})
        runs.append(Run(spec, history=history, chain=("",) * 5))
    axis = Figure().subplots()
    marks = plots._draw_curves(axis, Panel("loss", "loss"), {name: runs}, {}, {name: "#000000"})
    median, cross = (line.get_xydata().tolist() for line in axis.lines)
    assert median == [[1, 5.0], [2, 3.0], [3, 3.5], [4, 2.5]]
    (band,) = axis.collections
    assert band.get_paths()[0].get_extents().get_points().tolist() == [[1, 1], [4, 6]]
    assert (cross, marks) == ([[2, 3.0]], {plots.LAST})
    stopped = replace(runs[2], history=History(runs[2].history.rows[:2]), chain=("",) * 3)
    axis = Figure().subplots()
    plots._draw_curves(axis, Panel("loss", "loss"), {name: [*runs[:2], stopped]}, {}, {name: "k"})
    assert [len(line.get_xdata()) for line in axis.lines] == [4, 4, 2, 1]  # and the cross
    assert not axis.collections
