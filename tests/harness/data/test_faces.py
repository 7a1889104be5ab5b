import csv
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from experiments.harness.data import faces, sources
from experiments.harness.spec import UserError


def test_drawn_frames_depend_only_on_the_seed():
    x, valence, confidence = faces.draw(0, 70)
    again, *_ = faces.draw(0, 70)
    np.testing.assert_array_equal(x, again)
    assert not np.array_equal(x, faces.draw(1, 70)[0])
    assert x.shape == (70, 112, 112, 3)
    assert x.dtype == np.uint8
    assert -1 <= valence.min() < -0.5 < 0.5 < valence.max() <= 1
    assert 0 < confidence.min() < 0.5 < confidence.max() <= 1


def test_the_mouth_shows_the_valence():
    """The dark pixels of a smile are higher in its corners than in its middle."""
    x, valence, confidence = faces.draw(3, 300)
    clear = confidence > 0.85
    rows, columns = np.mgrid[0:112, 0:112]
    bends = []
    for frame in x[clear].astype(float):
        dark = frame.sum(-1) < 0.5 * np.median(frame.sum(-1))
        mouth = dark & (rows > 60) & (rows < 100) & (columns > 30) & (columns < 82)
        middle = mouth & (np.abs(columns - 56) < 6)
        corners = mouth & (np.abs(columns - 56) > 10)
        bends.append(
            rows[middle].mean() - rows[corners].mean() if corners.any() and middle.any() else 0
        )
    assert clear.sum() > 20
    assert np.corrcoef(bends, valence[clear])[0, 1] > 0.5


def write_folder(path: Path, count: int = 20, **columns: list) -> Path:
    path.mkdir()
    table = {
        "file": [f"{k}.png" for k in range(count)],
        "valence": list(np.linspace(-1, 1, count)),
        "confidence": [0.5] * count,
    } | columns
    for k in range(count):
        Image.new("RGB", (40, 30), (k, 2 * k, 3 * k)).save(path / f"{k}.png")
    with (path / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(table)
        rows.writerows(zip(*table.values(), strict=True))
    return path


def test_user_folder_has_every_ninth_frame_in_the_test_split(tmp_path):
    dataset, warning = sources.load("frames", str(write_folder(tmp_path / "own")))
    assert warning is None
    assert dataset.name == "folder own"
    assert dataset.stand_in
    assert dataset.x_train.shape == (17, 112, 112, 3)
    assert dataset.y_test.tolist() == pytest.approx([-1, -1 + 18 / 19, -1 + 36 / 19])
    x, y, w = dataset.train(slice(2))
    assert x.max() > 1  # the network itself divides
    assert w.tolist() == [0.5, 0.5]
    assert y.dtype == np.float32


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"valence": ["good"] * 20}, r"line 2: valence and confidence must be numbers"),
        ({"confidence": [0.5] * 19 + [7]}, "confidence from 0 to 1"),
        ({"valence": ["nan"] * 20}, "finite"),
        ({"file": ["none.png"] * 20}, r"none\.png cannot be read"),
        ({"file": ["../secret.png"] * 20}, "outside the folder"),
        ({"file": ["a\0b"] * 20}, "not a file name"),
        ({"file": ["labels.csv"] * 20}, "cannot be read as an image"),
    ],
)
def test_unusable_folder_is_reported_in_one_line(tmp_path, columns, message):
    with pytest.raises(UserError, match=message) as error:
        faces.load(str(write_folder(tmp_path / "own", **columns)))
    assert "\n" not in str(error.value)


def test_folder_without_labels_or_with_too_few_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no labels\.csv"):
        faces.load(str(tmp_path))
    with pytest.raises(UserError, match="more than 9"):
        faces.load(str(write_folder(tmp_path / "few", count=9)))
    with pytest.raises(UserError, match="no folder"):
        faces.load(str(tmp_path / "absent"))
    (tmp_path / "labels.csv").write_text("file,valence\na,1\n")
    with pytest.raises(UserError, match="has no confidence"):
        faces.load(str(tmp_path))


def test_sources_are_assigned_to_their_datasets(tmp_path, monkeypatch):
    both = ("mnist", "frames")
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    assert sources.dataset_for_source("mnist") == "mnist"
    assert sources.sources_by_dataset([], both) == {"mnist": "mnist", "frames": "frames"}
    by_dataset = sources.sources_by_dataset([str(tmp_path), "digits"], both)
    assert by_dataset == {"mnist": "digits", "frames": str(tmp_path)}
    with pytest.raises(UserError, match="twice"):
        sources.sources_by_dataset(["digits", "own.npz"], both)
    with pytest.raises(UserError, match="--data no/such/folder is for mnist"):
        sources.sources_by_dataset(["no/such/folder"], ["frames"])


def png(pixels: np.ndarray, colour_type: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG with 16 bits a sample, which Pillow does not write in colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(pixels: np.ndarray, bits: int, photometric: int, kind: int = 1, order: str = "<") -> bytes:
    """Return an uncompressed TIFF with one sample a pixel."""
    height, width = pixels.shape
    body = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1,
            278: height, 279: len(body), 339: kind}  # fmt: skip
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, v) for tag, v in tags.items())
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "IH", 8, len(tags)) + entries + bytes(4) + body


def saved(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


RAMP = np.linspace(0, 65535, 112 * 112).astype(np.uint16).reshape(112, 112)
LEVELS = (RAMP >> 8).astype(np.uint8)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=-1)
SHOWN = (COLOURS >> 8).astype(np.uint8)
GRAY, COLOUR = Image.fromarray(LEVELS), Image.fromarray(SHOWN)
TURNED = Image.Exif()
TURNED[0x0112] = 6  # to be turned by 90 degrees clockwise
OPAQUE = np.dstack([SHOWN, np.full((112, 112), 255, np.uint8)])
HOLED = np.dstack([SHOWN, np.where(LEVELS < 9, 0, 255).astype(np.uint8)])
PALETTE = COLOUR.quantize(256)
BITS = Image.fromarray(np.indices((112, 112)).sum(0) % 2 == 0)
FIRST, SECOND = Image.new("RGB", (9, 9), (255, 0, 0)), Image.new("RGB", (9, 9), (0, 0, 255))

SHOWN_PICTURES = {
    "16-bit gray PNG": (png(RAMP, 0), LEVELS),
    "16-bit gray TIFF": (tiff(RAMP, 16, 1), LEVELS),
    "16-bit gray TIFF, big-endian": (tiff(RAMP, 16, 1, order=">"), LEVELS),
    "16-bit gray TIFF, white is zero": (tiff(RAMP, 16, 0), 255 - LEVELS),
    "16-bit gray PGM": (b"P5 112 112 65535\n" + RAMP.astype(">u2").tobytes(), LEVELS),
    "16-bit gray, turned": (saved(Image.fromarray(RAMP), "png", exif=TURNED), np.rot90(LEVELS, -1)),
    "16-bit RGB PNG": (png(COLOURS, 2), SHOWN),
    "16-bit opaque RGBA PNG": (png(np.dstack([COLOURS, np.full_like(RAMP, 65535)]), 6), SHOWN),
    "8-bit gray TIFF, white is zero": (tiff(LEVELS, 8, 0), 255 - LEVELS),
    "1-bit PNG": (saved(BITS, "png"), 255 * np.asarray(BITS, np.uint8)),
    "palette": (saved(PALETTE, "png"), np.asarray(PALETTE.convert("RGB"))),
    "opaque RGBA PNG": (saved(Image.fromarray(OPAQUE), "png"), SHOWN),
    "opaque gray and alpha": (saved(GRAY.convert("LA"), "png"), LEVELS),
    "YCbCr TIFF": (saved(FIRST.convert("YCbCr"), "tiff"), (254, 0, 0)),
    "turned PNG": (saved(COLOUR, "png", exif=TURNED), np.rot90(SHOWN, -1)),
    "turned TIFF": (saved(COLOUR, "tiff", exif=TURNED), np.rot90(SHOWN, -1)),
    "animated GIF": (saved(FIRST, "gif", save_all=True, append_images=[SECOND]), (255, 0, 0)),
    "animated PNG": (saved(FIRST, "png", save_all=True, append_images=[SECOND]), (255, 0, 0)),
    "TIFF of two pages": (saved(FIRST, "tiff", save_all=True, append_images=[SECOND]), (255, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN_PICTURES)
def test_a_picture_is_read_as_a_viewer_shows_it(tmp_path, name):
    content, expected = SHOWN_PICTURES[name]
    (tmp_path / "a").write_bytes(content)
    expected = np.asarray(expected)
    found = faces._read_image(tmp_path / "a")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(
        found, np.broadcast_to(expected[..., None] if expected.ndim == 2 else expected, found.shape)
    )


def test_a_turned_photo_is_read_upright(tmp_path):
    photo = Image.new("RGB", (60, 40), (255, 0, 0))
    photo.paste((0, 0, 255), (0, 0, 30, 40))
    photo.save(tmp_path / "a.jpg", quality=95, exif=TURNED)
    top, bottom = np.split(faces._read_image(tmp_path / "a.jpg")[..., 2] > 128, 2)
    assert top[:50].all()
    assert not bottom[6:].any()


def test_an_embedded_profile_is_applied_and_a_useless_one_ignored(tmp_path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (b"none", lab, srgb):
        COLOUR.save(tmp_path / "a.png", icc_profile=profile)
        np.testing.assert_array_equal(faces._read_image(tmp_path / "a.png"), SHOWN)
    swapped = bytearray(srgb.replace(b"sRGB", b"Mine"))  # its red and green primaries swapped
    count = struct.unpack(">I", swapped[128:132])[0]
    where = {bytes(swapped[k : k + 4]): k for k in range(132, 132 + 12 * count, 12)}
    red, green = where[b"rXYZ"], where[b"gXYZ"]
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    description = where[b"desc"] + 4
    offset, size = struct.unpack(">II", swapped[description : description + 8])
    text = swapped[offset : offset + size].replace(
        "sRGB".encode("utf-16-be"), "Mine".encode("utf-16-be")
    )
    swapped[offset : offset + size] = text
    COLOUR.save(tmp_path / "a.png", icc_profile=bytes(swapped))
    found = faces._read_image(tmp_path / "a.png").astype(int)
    assert abs(found - SHOWN[..., [1, 0, 2]]).max() <= 2


CLEAR_PALETTE = saved(COLOUR.quantize(9), "png", transparency=3)
REFUSED_PICTURES = {
    "RGBA": (saved(Image.fromarray(HOLED), "png"), "transparent in part"),
    "gray and alpha": (saved(Image.fromarray(HOLED).convert("LA"), "png"), "transparent in part"),
    "palette with transparency": (CLEAR_PALETTE, "transparent in part"),
    "GIF with transparency": (saved(Image.fromarray(HOLED), "gif"), "transparent in part"),
    "WebP with alpha": (saved(Image.fromarray(HOLED), "webp"), "transparent in part"),
    "RGB with a transparent colour": (saved(COLOUR, "png", transparency=(0, 0, 0)), "transparent"),
    "16-bit RGB with one": (png(COLOURS, 2, (b"tRNS", bytes(6))), "transparent colour"),
    "16-bit gray with one": (png(RAMP, 0, (b"tRNS", bytes(2))), "transparent colour"),
    "CMYK JPEG": (saved(COLOUR.convert("CMYK"), "jpeg"), "pixels of type CMYK"),
    "CMYK TIFF": (saved(COLOUR.convert("CMYK"), "tiff"), "pixels of type CMYK"),
    "LAB TIFF": (saved(Image.new("LAB", (9, 9)), "tiff"), "pixels of type LAB"),
    "float TIFF": (saved(Image.fromarray(RAMP.astype("f4")), "tiff"), "floats or signed"),
    "PFM": (saved(Image.fromarray(RAMP.astype("f4")), "ppm"), "pixels of type F"),
    "32-bit TIFF": (tiff(RAMP.astype(np.uint32), 32, 1), "pixels of type I"),
    "signed TIFF": (tiff(RAMP.astype(np.int16), 16, 1, 2), "floats or signed"),
}


@pytest.mark.parametrize("name", REFUSED_PICTURES)
def test_a_picture_that_viewers_show_differently_is_refused_in_one_line(tmp_path, name):
    content, message = REFUSED_PICTURES[name]
    folder = write_folder(tmp_path / "own")
    (folder / "7.png").write_bytes(content)
    with pytest.raises(UserError, match=rf"7\.png cannot be read .*{message}") as error:
        faces.load(str(folder))
    assert "\n" not in str(error.value)
    assert ";" in str(error.value), "it must say what to do"
