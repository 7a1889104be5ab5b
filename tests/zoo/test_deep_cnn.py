import pytest

from zoo import deep_cnn


@pytest.mark.parametrize("depth", [1, 2, 5, 20])
@pytest.mark.parametrize("style", deep_cnn.STYLES)
def test_it_has_the_given_depth(depth, style):
    names = [layer.name for layer in deep_cnn.build(depth=depth, width=4, style=style).layers]
    for number in range(1, depth + 1):
        assert f"conv{number:02}" in names
        assert f"conv{number:02}_relu" in names
    assert sum("_bn" in name for name in names) == (0 if style == "plain" else depth)
    assert sum("_skip" in name for name in names) == ((depth - 1) // 2 if style == "skip" else 0)


def test_a_skip_adds_the_input_of_the_convolution_before():
    model = deep_cnn.build(depth=3, width=4, style="skip")
    first, second = (
        tensor._keras_history.operation.name for tensor in model.get_layer("conv03_skip").input
    )
    assert (first, second) == ("conv03_bn", "pool01")
