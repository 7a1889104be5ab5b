import numpy as np

from experiments.harness.telemetry import image_grid


def test_image_grid_has_eight_columns():
    images = np.zeros((10, 32, 32, 1), "float32")
    images[9] = 1
    grid = image_grid.image_grid(images)
    assert grid.shape == (2 * 66, 8 * 66, 1)
    assert grid[0, 0] == 0
    assert grid[66:130, 66:130].min() == 255


def test_zero_is_mid_gray_in_filter_grid():
    kernel = np.zeros((5, 5, 3, 2), "float32")
    kernel[..., 1] = -2
    grid = image_grid.filter_grid(kernel)
    assert grid[0, 0].tolist() == [128, 128, 128]
    assert grid[0, 70].tolist() == [0, 0, 0]


def test_nonfinite_values_are_drawn_as_zero():
    kernel = np.full((3, 3, 1, 1), np.nan, "float32")
    assert image_grid.filter_grid(kernel)[0, 0] == 0
