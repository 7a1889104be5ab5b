import keras
import numpy as np
import pytest

from experiments.harness.model.variables import to_numpy

SPECIAL = np.array([[np.inf, -np.inf, 3e4], [-0.0, 1e-45, 1.5]], "float32")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("values", [np.float32(-1.5), SPECIAL, SPECIAL[:0]])
def test_to_numpy_copies_every_bit_of_variables_and_tensors_without_a_warning(dtype, values):
    expected = values.astype("float32").astype(dtype)
    variable = keras.Variable(values, dtype=dtype)
    for value in (variable, keras.ops.convert_to_tensor(expected), expected):
        array = to_numpy(value)
        assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
        assert array.tobytes() == expected.tobytes()
        array[...] = 0
    assert to_numpy(variable).tobytes() == expected.tobytes()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_to_numpy_keeps_whole_numbers(dtype):
    values = np.array([0, 1, 1]).astype(dtype)
    np.testing.assert_array_equal(
        to_numpy(keras.Variable(values, dtype=dtype, trainable=False)), values, strict=True
    )
