import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
