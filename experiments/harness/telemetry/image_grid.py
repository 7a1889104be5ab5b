"""A batch of images, or a layer's filters, as one image. Pure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
COLUMNS, GAP = 8, 2
MIN_TILE_HEIGHT = 64  # pixels


def are_images(batch: NDArray[Any]) -> bool:
    """Return whether a batch is ``(number, height, width, 1 or 3)``."""
    return batch.ndim == 4 and batch.shape[-1] in (1, 3)


def are_filters(kernel: NDArray[Any]) -> bool:
    """Return whether a kernel is ``(height, width, 1 or 3, number)``."""
    return kernel.ndim == 4 and kernel.shape[2] in (1, 3)


def image_grid(images: NDArray[Any]) -> Pixels:
    """Return images in a grid, with their minimum in black and their maximum in white."""
    values = _finite(images)
    return _grid(_pixels(values, values.min(), values.max()))


def filter_grid(kernel: NDArray[Any]) -> Pixels:
    """Return filters in a grid, with 0 halfway between black and white."""
    values = _finite(np.moveaxis(kernel, -1, 0))
    largest = np.abs(values).max()
    return _grid(_pixels(values, -largest, largest))


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(values.astype("float64"), nan=0.0, posinf=0.0, neginf=0.0)


def _pixels(values: NDArray[np.float64], black: float, white: float) -> Pixels:
    return np.rint(255 * (values - black) / ((white - black) or 1.0)).astype("uint8")


def _grid(tiles: Pixels) -> Pixels:
    """Arrange tiles ``(number, height, width, channels)`` in rows, enlarging small ones."""
    factor = math.ceil(MIN_TILE_HEIGHT / tiles.shape[1])
    tiles = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    framed = np.pad(tiles, ((0, -len(tiles) % COLUMNS), (0, GAP), (0, GAP), (0, 0)),
                    constant_values=255)  # fmt: skip
    _, height, width, channels = framed.shape
    rows = framed.reshape(-1, COLUMNS, height, width, channels).swapaxes(1, 2)
    return rows.reshape(-1, COLUMNS * width, channels)
