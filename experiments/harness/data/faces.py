"""Frames of faces with a valence and a confidence: schematic drawings, or a user's folder.

Document 003's video frames are not public. In the drawings, the mouth's curvature is the valence,
in [-1, 1]; noise and an occluding bar lower the confidence, in (0, 1].
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import UserError

SIDE = 112  # pixels: document 003's network needs 89 to 120
TRAIN, TEST = 4096, 512  # drawn, from seeds 0 and 1
LABELS = ("file", "valence", "confidence")
CHUNK = 64
TEST_EVERY = 9  # every ninth frame of a user's folder is for the test

Arrays = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]


def load(source: str) -> tuple[Dataset, str | None]:
    """Return drawn frames if ``source`` is ``frames``, else those in the folder ``source``.

    The folder holds images and ``labels.csv`` with the columns ``file,valence,confidence``; every
    ninth row is for the test. Raises ``UserError`` for a folder that cannot be used.
    """
    if source != "frames":
        return _from_folder(Path(source)), None
    return _make_dataset("frames", draw(0, TRAIN), draw(1, TEST)), None


def draw(seed: int, count: int) -> Arrays:
    """Return ``count`` frames ``(n, 112, 112, 3)``, their valences and confidences ``(n,)``."""
    generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
    chunks = [_draw_chunk(generator, min(CHUNK, count - k)) for k in range(0, count, CHUNK)]
    frames, valence, confidence = map(np.concatenate, zip(*chunks, strict=True))
    return frames, valence, confidence


def _draw_chunk(generator: np.random.Generator, count: int) -> Arrays:
    def uniform(low: float, high: float, *shape: int) -> NDArray[np.float32]:
        return generator.uniform(low, high, (count, *shape, 1, 1)).astype("float32")

    y, x = np.mgrid[0:SIDE, 0:SIDE].astype("float32")[:, None]
    centre_x, centre_y, radius = uniform(48, 64), uniform(50, 62), uniform(30, 42)
    across, down = (x - centre_x) / radius, (y - centre_y) / (1.25 * radius)
    head = across**2 + down**2 < 1
    eyes = (np.abs(across) - 0.38) ** 2 + (down + 0.25) ** 2 < 0.012
    valence = uniform(-1, 1)
    mouth = np.abs(down - 0.45 - valence * (0.12 - across**2)) < 0.05
    features = eyes | (mouth & (np.abs(across) < 0.5))

    background, skin = uniform(40, 215, 3), uniform(90, 230, 3)
    frames = np.where(head[:, None], skin, background)
    frames = np.where(features[:, None], 0.25 * skin, frames)
    thickness, position = uniform(0, 0.3), uniform(-0.9, 0.9)
    bar = np.abs(down - position) < thickness
    frames = np.where(bar[:, None], uniform(0, 255, 1), frames)
    noise = uniform(0, 60)
    frames += noise[:, None] * generator.standard_normal(frames.shape, dtype="float32")

    occluded = np.mean(bar & features, axis=(1, 2)) / np.mean(features, axis=(1, 2))
    confidence = (1 - 0.9 * occluded) * (1 - noise[:, 0, 0] / 120)
    pixels = np.moveaxis(frames.clip(0, 255).round().astype("uint8"), 1, -1)
    return pixels, valence[:, 0, 0], confidence.astype("float32")


def _make_dataset(name: str, train: Arrays, test: Arrays) -> Dataset:
    x, y, w = train
    return Dataset(name, x, y, *test[:2], w_train=w, w_test=test[2], divisor=1.0)


def _from_folder(folder: Path) -> Dataset:
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    table = folder / "labels.csv"
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [_read_row(folder, n, row) for n, row in enumerate(csv.DictReader(file), 2)]
    except FileNotFoundError:
        raise UserError(f"{folder} has no labels.csv with {','.join(LABELS)}") from None
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{table} cannot be read: {error}") from None
    if len(rows) <= TEST_EVERY:
        raise UserError(f"{table} labels {len(rows)} frames; more than {TEST_EVERY} are needed")
    test = rows[::TEST_EVERY]
    del rows[::TEST_EVERY]
    return _make_dataset(f"folder {folder.name}", _stack(rows), _stack(test))


def _stack(rows: list[Any]) -> Arrays:
    frames, valence, confidence = map(np.stack, zip(*rows, strict=True))
    return frames, valence, confidence


def _read_row(folder: Path, line: int, row: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return a row's frame, valence and confidence, after checking them."""
    location = f"{folder / 'labels.csv'}, line {line}"
    if missing := [name for name in LABELS if row.get(name) is None]:
        raise UserError(f"{location} has no {' and no '.join(missing)}")
    try:
        valence, confidence = np.float32(row["valence"]), np.float32(row["confidence"])
    except ValueError:
        raise UserError(f"{location}: valence and confidence must be numbers") from None
    if not (np.isfinite(valence) and 0 <= confidence <= 1):
        raise UserError(f"{location}: valence must be finite, confidence from 0 to 1")
    try:
        path = (folder / row["file"]).resolve()
    except (OSError, ValueError) as error:
        raise UserError(f"{location}: {row['file']!r} is not a file name: {error}") from None
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"{location}: {row['file']} is outside the folder")
    return _read_image(path), valence, confidence


def _read_image(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            return np.asarray(small, "uint8")
    except Exception as error:  # an untrusted file can make the decoder raise anything
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} cannot be read as an image: {reason}") from None
