import keras
import numpy as np
import pytest

import zoo
from experiments.harness.model.variables import to_numpy
from zoo import alexnet

SMALL = {"image_size": 67, "width": 1 / 16}


def output_shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    return {layer.name: tuple(layer.output.shape[1:]) for layer in model.layers}


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, 28, 28, 1), dtype="float32")


def test_at_full_size_the_shapes_are_the_documents():
    shapes = output_shapes(alexnet.build())
    documented = {
        "resize": (227, 227, 1), "conv1": (55, 55, 96), "pool1": (27, 27, 96),
        "conv2": (27, 27, 256), "pool2": (13, 13, 256), "conv3": (13, 13, 384),
        "conv4": (13, 13, 384), "conv5": (13, 13, 256), "pool5": (6, 6, 256),
        "flatten": (9216,), "fc1": (4096,), "fc2": (4096,), "output": (10,),
    }  # fmt: skip
    assert {name: shapes[name] for name in documented} == documented


def test_normalisation_stands_where_the_document_puts_it():
    lrn = list(output_shapes(alexnet.build(**SMALL)))
    assert lrn.index("conv1_relu") < lrn.index("conv1_lrn") < lrn.index("pool1")
    assert [name for name in lrn if "lrn" in name] == ["conv1_lrn", "conv2_lrn"]
    batch = list(output_shapes(alexnet.build(norm="batch", **SMALL)))
    assert not any("lrn" in name for name in batch)
    for name in (*alexnet.CONVOLUTIONS, *alexnet.DENSE):
        at = batch.index(f"{name}_bn")
        assert batch[at - 1 : at + 2] == [name, f"{name}_bn", f"{name}_relu"]


@pytest.mark.parametrize(("stochastic", "same"), [(True, False), (False, True)])
def test_evaluation_is_stochastic_where_documented(stochastic, same):
    model = alexnet.build(**SMALL, dropout_at_evaluation=stochastic)
    first, second = (model.predict(images(4), verbose=0) for _ in range(2))
    assert np.array_equal(first, second) == same


def test_batch_statistics_act_at_evaluation_where_documented():
    options = {**SMALL, "norm": "batch", "dropout_at_evaluation": False}
    x = images(8)
    for stochastic in (True, False):
        model = alexnet.build(**options, batch_statistics_at_evaluation=stochastic)
        together = model.predict(x, batch_size=8, verbose=0)
        apart = model.predict(x, batch_size=4, verbose=0)
        assert np.allclose(together, apart, atol=1e-5) != stochastic


def test_grouped_convolutions_are_two_separate_ones():
    model = alexnet.build(**SMALL, groups=2)
    both = keras.Model(
        model.inputs,
        [model.get_layer(name).output for name in ("conv3_relu", "conv4", "conv4_1", "conv4_2")],
    )
    below, joined, first, second = both.predict(images(2), verbose=0)
    np.testing.assert_array_equal(joined, np.concatenate([first, second], axis=-1))
    half = below.shape[-1] // 2
    for output, x, name in ((first, below[..., :half], "conv4_1"),
                            (second, below[..., half:], "conv4_2")):  # fmt: skip
        kernel, bias = model.get_layer(name).get_weights()
        alone = keras.ops.add(keras.ops.conv(x, kernel, padding="same"), bias)
        np.testing.assert_allclose(to_numpy(alone), output, atol=1e-5)


def test_full_size_gain_keeps_each_layers_initial_amplification():
    initializer = {"class_name": "RandomNormal", "config": {"stddev": 0.01}}
    model = alexnet.build(
        **SMALL, kernel_initializer=initializer, full_size_gain=True, groups=2, norm=None
    )
    full_fan_in = {"conv1": 121, "conv2": 25 * 96, "conv3": 9 * 256, "conv4_1": 9 * 192,
                   "fc1": 9216, "fc2": 4096, "output": 4096}  # fmt: skip
    for name, documented in full_fan_in.items():
        kernel = model.get_layer(name).get_weights()[0]
        gain = kernel.std() * np.prod(kernel.shape[:-1]) ** 0.5
        assert gain == pytest.approx(0.01 * documented**0.5, rel=0.25), name


def test_layers_of_one_shape_start_from_different_weights():
    shared = keras.initializers.TruncatedNormal(stddev=0.1)
    model = alexnet.build(**SMALL, groups=2, kernel_initializer=shared)
    first, second = (model.get_layer(name).get_weights()[0] for name in ("conv4_1", "conv4_2"))
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "options", [{"norm": "layer"}, {"width": 0}, {"groups": 0}, {"image_size": 60}]
)
def test_an_option_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        zoo.build("alexnet", **options)
