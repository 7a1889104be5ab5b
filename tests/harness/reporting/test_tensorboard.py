"""What TensorBoard's own reader finds of an experiment as a whole."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from experiments import catalog
from experiments.harness.reporting import tensorboard
from experiments.harness.spec import Experiment, Run
from experiments.harness.study import plan


def read(folder) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0, "scalars": 0})
    found.Reload()
    return found


def texts(found: EventAccumulator) -> dict[str, str]:
    tags = [tag for tag in found.Tags()["tensors"] if tag.endswith("/text_summary")]
    return {
        tag.partition("/")[0]: found.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
        for tag in tags
    }


def planned(experiment: Experiment, **changes) -> list[Run]:
    return plan.plan_runs(
        experiment,
        "mini",
        arms=["decayed_rate"],
        seeds=[0, 1],
        changes=changes,
        data={"mnist": {}},
        environment={},
    )


def test_an_experiments_card_charts_and_documented_values_are_there(tmp_path):
    experiment = catalog.load("alexnet_lr_decay")
    for _ in range(2):  # the second takes the first's place
        tensorboard.write(experiment, planned(experiment), tmp_path)
    found = read(tmp_path)
    assert len([*tmp_path.glob("events.*")]) == 1
    card = texts(found)["lab_card"]
    assert experiment.question in card
    assert all(claim.text in card for claim in experiment.claims)
    (layout,) = found.Tensors("custom_scalars__config__")
    charts = Layout.FromString(layout.tensor_proto.string_val[0]).category[0].chart
    assert [chart.title for chart in charts] == [panel.label for panel in experiment.panels]
    assert [*charts[0].multiline.tag] == ["loss/test"]

    arm, printed = "decayed_rate", experiment.documented["decayed_rate"]
    steps = experiment.at["mini"][arm].steps
    values = read(tmp_path / arm / tensorboard.DOCUMENT).Scalars("accuracy/test")
    points = printed.points("test_accuracy")
    assert {event.step: round(event.value, 6) for event in values} == {
        interval * steps: round(value, 6) for interval, value in points.items()
    }


def test_what_is_documented_is_not_shown_beside_an_arm_that_is_changed(tmp_path):
    experiment = catalog.load("alexnet_lr_decay")
    tensorboard.write(experiment, planned(experiment, steps=3), tmp_path)
    assert [path.parent for path in tmp_path.rglob("events.*")] == [tmp_path]
