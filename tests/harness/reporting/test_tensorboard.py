"""An experiment's own events, read with TensorBoard's own reader."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from experiments import catalog
from experiments.harness.reporting import tensorboard
from experiments.harness.spec import Experiment, RunSpec
from experiments.harness.spec.overrides import override

ARM = "decayed_rate"


def read_events(folder) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0, "images": 0, "scalars": 0})
    events.Reload()
    return events


def texts(events: EventAccumulator) -> dict[str, str]:
    tags = [tag for tag in events.Tags()["tensors"] if tag.endswith("/text_summary")]
    return {
        tag.partition("/")[0]: events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
        for tag in tags
    }


def plan(experiment: Experiment, **overrides) -> list[RunSpec]:
    arm = override(experiment.at["mini"][ARM], overrides)
    return [RunSpec(experiment.name, ARM, arm, seed, "mini", {}, {}, overrides) for seed in (0, 1)]


def test_an_experiment_has_a_card_charts_and_documented_values(tmp_path):
    experiment = catalog.load("alexnet_lr_decay")
    for _ in range(2):  # the second call replaces the first one's events
        tensorboard.write(experiment, plan(experiment), tmp_path)
    events = read_events(tmp_path)
    assert len([*tmp_path.glob("events.*")]) == 1
    card = texts(events)["lab_card"]
    assert experiment.question in card
    assert all(claim.text in card for claim in experiment.claims)
    (layout,) = events.Tensors("custom_scalars__config__")
    charts = Layout.FromString(layout.tensor_proto.string_val[0]).category[0].chart
    assert [chart.title for chart in charts] == [panel.label for panel in experiment.panels]
    assert [*charts[0].multiline.tag] == ["loss/test"]

    steps = experiment.at["mini"][ARM].steps
    values = read_events(tmp_path / ARM / tensorboard.DOCUMENT).Scalars("accuracy/test")
    points = experiment.documented[ARM].points("test_accuracy")
    assert {event.step: round(event.value, 6) for event in values} == {
        interval * steps: round(value, 6) for interval, value in points.items()
    }


def test_documented_values_are_not_shown_beside_an_arm_with_overrides(tmp_path):
    experiment = catalog.load("alexnet_lr_decay")
    tensorboard.write(experiment, plan(experiment, steps=3), tmp_path)
    assert [path.parent for path in tmp_path.rglob("events.*")] == [tmp_path]
