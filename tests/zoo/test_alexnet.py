import keras
import numpy as np
import pytest

import zoo
from experiments.harness.model.variables import to_numpy
from zoo import alexnet

SMALL = {"image_size": 67, "width": 1 / 16}
FULL_FANS = {  # of a kernel at full size, conv4 and conv5 in two groups
    "conv1": (121, 121 * 96), "conv2": (25 * 96, 25 * 256), "conv3": (9 * 256, 9 * 384),
    "conv4_1": (9 * 192, 9 * 192), "conv4_2": (9 * 192, 9 * 192),
    "conv5_1": (9 * 192, 9 * 128), "conv5_2": (9 * 192, 9 * 128),
    "fc1": (9216, 4096), "fc2": (4096, 4096), "output": (4096, 10),
}  # fmt: skip


def output_shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    return {layer.name: tuple(layer.output.shape[1:]) for layer in model.layers}


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, 28, 28, 1), dtype="float32")


def test_at_full_size_the_shapes_are_the_documents():
    shapes = output_shapes(alexnet.build(forward_gain=True))
    assert not any("gain" in name for name in shapes)
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
    for name, (documented, _) in FULL_FANS.items():
        kernel = model.get_layer(name).get_weights()[0]
        gain = kernel.std() * np.prod(kernel.shape[:-1]) ** 0.5
        assert gain == pytest.approx(0.01 * documented**0.5, rel=0.25), name


def test_forward_gain_is_the_network_whose_kernels_are_multiplied():
    options = {**SMALL, "groups": 2, "dropout": 0.0, "bias_initializer": "random_normal"}
    ours, plain = (alexnet.build(**options, forward_gain=gain) for gain in (True, False))
    layers = [layer.name for layer in ours.layers if hasattr(layer, "kernel")]
    assert set(layers) == set(FULL_FANS)
    gains = {
        name: (FULL_FANS[name][0] / np.prod(ours.get_layer(name).kernel.shape[:-1])) ** 0.5
        for name in layers
    }
    assert gains["conv1"] == 1
    assert gains["fc1"] == pytest.approx((9216 / 16) ** 0.5)
    for name in layers:
        kernel, bias = ours.get_layer(name).get_weights()
        plain.get_layer(name).set_weights([gains[name] * kernel, bias])
    x, y = images(8), np.eye(10, dtype="float32")[:8]
    expected = plain.predict(x, verbose=0)
    np.testing.assert_allclose(ours.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)
    before = {name: (ours.get_layer(name).get_weights(), plain.get_layer(name).get_weights())
              for name in layers}  # fmt: skip
    for model in (ours, plain):
        model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
        model.train_on_batch(x, y)
    for name in layers:
        ours_step, plain_step = (
            [new - old for new, old in zip(model.get_layer(name).get_weights(), olds, strict=True)]
            for model, olds in zip((ours, plain), before[name], strict=True)
        )
        for got, wanted, factor in zip(ours_step, plain_step, (gains[name], 1), strict=True):
            atol = 1e-3 * np.abs(factor * wanted).max() + 1e-7
            np.testing.assert_allclose(got, factor * wanted, rtol=1e-3, atol=atol, err_msg=name)


def test_forward_gain_starts_from_the_full_size_layers_values():
    options = {**SMALL, "groups": 2, "kernel_initializer": "glorot_uniform"}
    model = alexnet.build(**options, bias_initializer="glorot_uniform", forward_gain=True)
    areas = {"conv1": 121, "conv2": 25, "fc1": 1, "fc2": 1, "output": 1}  # of a kernel
    for name, fans in FULL_FANS.items():
        kernel, bias = map(np.abs, model.get_layer(name).get_weights())
        limit = (6 / sum(fans)) ** 0.5
        assert 0.95 * limit < kernel.max() <= limit * 1.0001, name
        limit = (3 * areas.get(name, 9) / fans[1]) ** 0.5
        assert 0.2 * limit < bias.max() <= limit * 1.0001, name


def test_forward_gain_leaves_initial_values_of_a_fixed_spread_untouched():
    values = []
    for gain in (True, False):
        keras.utils.set_random_seed(0)
        initializer = {"class_name": "TruncatedNormal", "config": {"stddev": 0.01}}
        options = {"kernel_initializer": initializer, "bias_initializer": initializer}
        values.append(alexnet.build(**SMALL, **options, forward_gain=gain).get_weights())
    for got, wanted in zip(*values, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_layers_of_one_shape_start_from_different_weights():
    shared = keras.initializers.TruncatedNormal(stddev=0.1)
    model = alexnet.build(**SMALL, groups=2, kernel_initializer=shared)
    first, second = (model.get_layer(name).get_weights()[0] for name in ("conv4_1", "conv4_2"))
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "layer"},
        {"width": 0},
        {"groups": 0},
        {"image_size": 60},
        {"forward_gain": True, "full_size_gain": True},
    ],
)
def test_an_option_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        zoo.build("alexnet", **options)
