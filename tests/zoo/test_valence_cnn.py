import keras
import numpy as np

from experiments.harness.model.variables import to_numpy
from zoo import valence_cnn


def test_at_full_size_the_shapes_are_the_documents():
    model = valence_cnn.build()
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    assert shapes["flatten"] == (1024,)
    assert shapes["conv1"][-1] == 128
    assert shapes["local1"] == shapes["local2"] == (2046,)
    names = list(shapes)
    for before, after in (("conv1_relu", "norm1"), ("norm1", "pool1"), ("norm2", "pool2")):
        assert names.index(after) == names.index(before) + 1


def test_frames_are_normalised_and_weights_start_as_documented():
    model = valence_cnn.build(bias_initializer=keras.initializers.Constant(0.1))
    layer = model.get_layer("image_normalization")
    normalised = to_numpy(layer(np.array([0.0, 128.0, 255.0], "float32")))
    np.testing.assert_allclose(normalised, [-128 / 255, 0, 127 / 255], atol=1e-6)
    for name in ("conv2", "local1"):
        kernel, bias = model.get_layer(name).get_weights()
        fans = np.prod(kernel.shape[:-2]) * sum(kernel.shape[-2:])
        assert np.isclose(kernel.std(), (2 / fans) ** 0.5, rtol=0.02)
        assert (bias == np.float32(0.1)).all()
    kernel, bias = model.get_layer("softmax_linear").get_weights()
    assert np.isclose(kernel.std(), 0.88 / 1024, rtol=0.1)
    assert bias == 0
