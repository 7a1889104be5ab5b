import keras
import numpy as np
import pytest

import zoo
from experiments.harness.telemetry.layer_tags import layer_tags

SMALL = {
    "alexnet": {"image_size": 67, "width": 1 / 32},
    "mnist_cnn": {"widths": (2, 3, 4)},
    "deep_cnn": {"depth": 3, "width": 2},
    "valence_cnn": {"width": 1 / 64},
}


@pytest.mark.parametrize("name", zoo.names())
def test_every_variable_and_layer_has_a_tag_in_network_order(name):
    model = zoo.build(name, **SMALL[name])
    tags = layer_tags(model)
    assert {v.path for v in tags.variables.values()} == {v.path for v in model.weights}
    groups = list(dict.fromkeys(tag.partition("/")[0] for tag in tags.variables))
    weighted = [layer.name for layer in model.layers if layer.weights]
    assert groups == weighted == sorted(weighted)
    for group in groups:
        assert f"{group}/output" in tags.outputs
    assert f"{groups[0]}/pre_activation" in tags.outputs


def test_groups_hold_the_layers_up_to_the_next_with_weights():
    outputs = [*layer_tags(zoo.build("alexnet", **SMALL["alexnet"])).outputs]
    assert outputs[:6] == [
        "batch/resize", "conv1/pre_activation", "conv1/output", "conv1/lrn", "conv1/pool1",
        "conv2/pre_activation",
    ]  # fmt: skip
    assert outputs[-1] == "output/output"
    tags = layer_tags(zoo.build("alexnet", **SMALL["alexnet"], norm="batch"))
    assert "conv1/bn/gamma" in tags.variables
    assert "conv1/bn" in tags.outputs
    assert "conv1/output" in tags.relu_outputs


def test_fused_activations_have_pre_activation_tags():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, "relu", name="b"),
            keras.layers.Dense(2, name="a"),
        ]
    )
    tags = layer_tags(model)
    assert [*tags.outputs] == ["1_b/output", "2_a/output"]  # sorted by name, a would come first
    assert [*tags.fused_activations] == ["1_b/pre_activation"]
    assert tags.relu_outputs == {"1_b/output"}


def test_nested_model_is_one_layer_of_the_outer_graph():
    keras.utils.clear_session()
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")], name="within")
    image = keras.Input((4,), name="image")
    outer = keras.Model(
        image, keras.layers.Dense(2, name="last")(inner(inner(image)[:, :1] + image))
    )
    tags = layer_tags(outer)
    layers = ("1_within/d", "2_last")
    assert {*tags.variables} == {f"{g}/{v}" for g in layers for v in ("kernel", "bias")}
    assert keras.Model(outer.input, [*tags.outputs.values()]).predict(np.ones((1, 4)), verbose=0)


def test_names_that_sort_in_network_order_are_not_numbered():
    x = image = keras.Input((8,))
    for number in range(1, 12):
        x = keras.layers.Dense(2, name=f"layer{number}")(x)
    assert next(iter(layer_tags(keras.Model(image, x)).outputs)) == "layer1/output"


def test_variables_of_a_model_without_a_graph_are_tagged_by_layer():
    class Subclassed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = keras.layers.Dense(2, name="first")
            self.scale = self.add_weight(shape=(), name="scale")

        def call(self, x):
            return self.first(x) * self.scale

    model = Subclassed()
    assert [*layer_tags(model).variables] == ["subclassed/scale"]
    model(np.ones((1, 3)))
    tags = layer_tags(model)
    assert [*tags.variables] == ["first/kernel", "first/bias", "subclassed/scale"]
    assert (dict(tags.outputs), tags.first_input, tags.filters) == ({}, None, None)


def test_several_inputs_and_outputs_have_tags():
    one, other = keras.Input((4,), name="one"), keras.Input((3,), name="other")
    x = keras.layers.Concatenate(name="joined")([keras.layers.Dense(2, name="first")(one), other])
    model = keras.Model(
        [one, other], [keras.layers.Dense(1, name=name)(x) for name in ("out_a", "out_b")]
    )
    assert {"first/output", "out_a/output", "out_b/output"} <= {*layer_tags(model).outputs}
