"""Frames of faces with a valence and a confidence: schematic drawings, or a user's folder.

Document 003's video frames are not public. In the drawings, the mouth's curvature is the valence,
in [-1, 1]; noise and an occluding bar lower the confidence, in (0, 1].
"""

from __future__ import annotations

import csv
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import UserError

if TYPE_CHECKING:
    from PIL import Image

SIDE = 112  # pixels: document 003's network needs 89 to 120
TRAIN, TEST = 4096, 512  # drawn, from seeds 0 and 1
LABELS = ("file", "valence", "confidence")
CHUNK = 64
TEST_EVERY = 9  # every ninth frame of a user's folder is for the test

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr")  # Pillow's, 8 bits
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
UNSIGNED, WHITE_IS_ZERO = 1, 0  # values of the last two

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


def _as_shown(image: Image.Image) -> Image.Image:
    """Return an image, its first frame if it has several, as a viewer shows it, in RGB.

    Raises ``ValueError`` for pixels that viewers show differently.
    """
    from PIL import Image, ImageOps

    levels, clear = _gray_levels(image), image.info.get("transparency")
    if clear is not None and (levels is not None or image.mode == "RGB"):
        raise ValueError("it has a transparent colour; save it without one")
    if levels is not None:
        gray = Image.fromarray(levels)
        gray.info = image.info
        image = gray
    if image.mode not in MODES:
        raise ValueError(f"it has pixels of type {image.mode}; save it with 8 bits in RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ValueError("it is transparent in part; save it on a background")
    image = ImageOps.exif_transpose(image)
    return _to_srgb(image if image.mode == "L" else image.convert("RGB"))


def _gray_levels(image: Image.Image) -> NDArray[np.uint8] | None:
    """Return the upper 8 bits of a gray image with more; None if it has 8, or colours."""
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if any(kind != UNSIGNED for kind in tags.get(SAMPLE_FORMAT, ())):
        raise ValueError("its pixels are floats or signed; save it with 8 bits in RGB")
    deep = image.mode in ("I;16", "I;16B", "I;16L") or (
        image.mode == "I" and image.format in ("PNG", "PPM")
    )
    if not deep:
        return None
    bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
    levels = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return 255 - levels if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else levels


def _to_srgb(image: Image.Image) -> Image.Image:
    """Return an image in RGB, its embedded colour profile applied."""
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if profile:
        with suppress(ImageCms.PyCMSError):  # viewers ignore an unusable profile
            given = ImageCms.getOpenProfile(BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(given).lower():
                srgb = ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(image, given, srgb, outputMode="RGB")
                return cast("Image.Image", converted)
    return image.convert("RGB")


def _read_image(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            small = _as_shown(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            return np.asarray(small, "uint8")
    except Exception as error:  # an untrusted file can make the decoder raise anything
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} cannot be read as an image: {reason}") from None
