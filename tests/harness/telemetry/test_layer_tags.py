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


def order(groups: list[str]) -> list[str]:
    return list(dict.fromkeys(groups))


@pytest.mark.parametrize("name", zoo.names())
def test_every_variable_and_layer_has_a_tag_in_the_networks_order(name):
    model = zoo.build(name, **SMALL[name])
    found = layer_tags(model)
    assert {v.path for v in found.variables.values()} == {v.path for v in model.weights}
    groups = order([tag.partition("/")[0] for tag in found.variables])
    weighted = [layer.name for layer in model.layers if layer.weights]
    assert groups == weighted == sorted(weighted)
    for group in groups:
        assert f"{group}/output" in found.outputs
    assert f"{groups[0]}/pre_activation" in found.outputs


def test_what_belongs_to_a_layer_is_in_its_group():
    tags = [*layer_tags(zoo.build("alexnet", **SMALL["alexnet"])).outputs]
    assert tags[:6] == [
        "batch/resize", "conv1/pre_activation", "conv1/output", "conv1/lrn", "conv1/pool1",
        "conv2/pre_activation",
    ]  # fmt: skip
    assert tags[-1] == "output/output"
    normed = layer_tags(zoo.build("alexnet", **SMALL["alexnet"], norm="batch"))
    assert "conv1/bn/gamma" in normed.variables
    assert "conv1/bn" in normed.outputs
    assert "conv1/output" in normed.rectified


def test_layers_with_activations_of_their_own_are_listened_to():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, "relu", name="b"),
            keras.layers.Dense(2, name="a"),
        ]
    )
    found = layer_tags(model)
    assert [*found.outputs] == ["1_b/output", "2_a/output"]  # by name a would come first
    assert [*found.fused] == ["1_b/pre_activation"]
    assert found.rectified == {"1_b/output"}


def test_a_nested_model_is_one_layer_of_the_outer_graph():
    keras.utils.clear_session()
    within = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")], name="within")
    image = keras.Input((4,), name="image")
    outer = keras.Model(
        image, keras.layers.Dense(2, name="last")(within(within(image)[:, :1] + image))
    )
    found = layer_tags(outer)
    within_and_last = ("1_within/d", "2_last")
    assert {*found.variables} == {f"{g}/{v}" for g in within_and_last for v in ("kernel", "bias")}
    assert keras.Model(outer.input, [*found.outputs.values()]).predict(np.ones((1, 4)), verbose=0)


def test_names_that_sort_as_the_network_goes_are_left_alone():
    x = image = keras.Input((8,))
    for number in range(1, 12):
        x = keras.layers.Dense(2, name=f"layer{number}")(x)
    assert next(iter(layer_tags(keras.Model(image, x)).outputs)) == "layer1/output"


def test_another_model_is_refused():
    class Own(keras.Model):
        pass

    image = keras.Input((4,))
    with pytest.raises(ValueError, match="functional"):
        layer_tags(Own())
    with pytest.raises(ValueError, match="one input and one output"):
        layer_tags(keras.Model(image, [image + 1, image + 2]))
