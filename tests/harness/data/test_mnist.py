import zipfile
from pathlib import Path

import numpy as np
import pytest

from experiments.harness.data import dataset, mnist
from experiments.harness.spec import UserError

REAL = Path(__file__).parents[4] / "shared/data/mnist.npz"


@pytest.fixture(scope="module")
def digits() -> dataset.Dataset:
    return mnist.load("digits")[0]


def arrays(digits: dataset.Dataset) -> dict[str, np.ndarray]:
    return {name: getattr(digits, name) for name in mnist.ARRAYS}


def test_digits_are_a_stand_in_with_all_of_scikit_learns_images(digits):
    assert len(digits.x_train) + len(digits.x_test) == 1797
    assert digits.identity()["stand_in"]
    assert set(digits.y_test) == set(range(10))
    assert digits.x_train.max() == 255


def test_file_in_mnists_layout_is_read(tmp_path, digits):
    np.savez(tmp_path / "own.npz", **arrays(digits))
    data, warning = mnist.load(str(tmp_path / "own.npz"))
    assert (data.sha256, data.name, warning) == (digits.sha256, "own.npz", None)


@pytest.mark.skipif(not REAL.exists(), reason="real MNIST is missing")
def test_real_mnist_is_recognised_by_its_content():
    data, _ = mnist.load(str(REAL))
    assert data.identity()["stand_in"] is False
    assert data.name == "mnist"
    assert (data.x_train.shape, data.x_test.shape) == ((60_000, 28, 28), (10_000, 28, 28))
    assert (data.y_test[:1000] == 0).sum() == 85  # the document's accuracy of a NaN network


def replacing(name: str, value: np.ndarray):
    return lambda good: good | {name: value}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda good: {k: v for k, v in good.items() if k != "y_test"}, "has no y_test"),
        (replacing("x_train", np.zeros((5, 28, 28), "complex")), "not uint8"),
        (replacing("x_train", np.zeros((5, 784), "uint8")), r"not uint8 \(n, 28, 28\)"),
        (replacing("x_train", np.zeros((5, 28, 28, 3), "uint8")), r"not uint8 \(n, 28, 28\)"),
        (replacing("x_train", np.full((1297, 28, 28), 1.0)), "save both as uint8"),
        (replacing("x_train", np.full((1297, 28, 28), -1)), "values from -1 to 255"),
        (replacing("x_train", np.full((1297, 28, 28), 256, ">u2")), "values from 0 to 256"),
        (
            lambda good: (
                good | {"x_train": good["x_train"] / 255, "x_test": np.full((500, 28, 28), np.nan)}
            ),
            "not 0 to 255",
        ),
        (replacing("y_train", np.full(1297, 0.5)), "with fractions"),
        (replacing("y_train", np.full(1297, np.nan)), "with fractions"),
        (replacing("y_train", np.full(1297, True)), "not integers"),
        (replacing("y_train", np.full(1297, "5")), "not integers"),
        (replacing("y_train", np.full((1297, 10), 0.1)), "not one-hot"),
        (replacing("y_train", np.zeros((1297, 10))), "not one-hot"),
        (replacing("y_train", np.eye(11)[np.zeros(1297, int)]), "not integers"),
        (replacing("y_train", np.arange(1, 1298) % 10 + 1), "labels outside"),
        (replacing("y_train", np.full(1297, 2**63, ">u8")), "labels outside"),
        (replacing("y_train", np.full(1297, np.inf)), "labels outside"),
        (replacing("x_train", np.zeros((5, 32, 32), "uint8")), r"not uint8 \(n, 28, 28\)"),
        (replacing("x_test", np.zeros((0, 28, 28), "uint8")), "x_test"),
        (replacing("y_train", np.zeros(5, "int64")), "not integers"),
        (replacing("y_test", np.full(500, 10)), "labels outside"),
        (replacing("y_test", np.array([{}] * 500)), "cannot be read"),
    ],
)
def test_file_with_other_arrays_is_refused(tmp_path, digits, change, message):
    np.savez(tmp_path / "bad.npz", **change(arrays(digits)))
    with pytest.raises(UserError, match=message):
        mnist.load(str(tmp_path / "bad.npz"))


def scaled(how):
    return lambda good: good | {name: how(good[name]) for name in ("x_train", "x_test")}


def labelled(how):
    return lambda good: good | {name: how(good[name]) for name in ("y_train", "y_test")}


@pytest.mark.parametrize(
    "change",
    [
        scaled(lambda x: x[..., None]),
        scaled(np.asfortranarray),
        scaled(lambda x: x.astype(">i2")),
        scaled(lambda x: x.astype("i8")),
        scaled(lambda x: x.astype("f4")),
        *(scaled(lambda x, kind=kind: (x / 255).astype(kind)) for kind in ("f2", "f4", ">f8")),
        *(labelled(lambda y, kind=kind: y.astype(kind)) for kind in (">i8", "u1", "f4", ">f8")),
        *(labelled(lambda y, kind=kind: np.eye(10, dtype=kind)[y]) for kind in ("f4", "i8", "?")),
        labelled(lambda y: y[:, None]),
    ],
)
def test_the_same_digits_in_another_form_are_the_same_data(tmp_path, digits, change):
    np.savez(tmp_path / "own.npz", **change(arrays(digits)))
    data, _ = mnist.load(str(tmp_path / "own.npz"))
    assert data.sha256 == digits.sha256
    assert (data.x_train.dtype, data.y_test.dtype) == (np.uint8, np.int32)


def test_truth_values_are_black_and_white_and_labels_may_have_gaps(tmp_path, digits):
    good = arrays(digits)
    ink = {name: good[name] > 100 for name in ("x_train", "x_test")}
    even = {name: good[name] // 2 * 2 for name in ("y_train", "y_test")}
    for how in (bool, float):
        pixels = {name: value.astype(how) for name, value in ink.items()}
        np.savez(tmp_path / "own.npz", **even | pixels)
        data, _ = mnist.load(str(tmp_path / "own.npz"))
        np.testing.assert_array_equal(data.x_test, 255 * ink["x_test"])
        assert set(data.y_test) == {0, 2, 4, 6, 8}


def test_black_images_stay_black_in_every_type(tmp_path, digits):
    for dtype in ("uint8", "int64", "float32", "bool"):
        np.savez(
            tmp_path / "own.npz", **scaled(lambda x, d=dtype: np.zeros_like(x, d))(arrays(digits))
        )
        data, _ = mnist.load(str(tmp_path / "own.npz"))
        assert data.x_train.dtype == np.uint8
        assert not data.x_train.any()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda x: (x > 100).astype("uint8"), "integers 0 and 1; scale"),
        (lambda x: (x > 100).astype("int64"), "integers 0 and 1; scale"),
        (lambda x: x / 127.5 - 1, "from -1 to 1, not 0 to 255"),
        (lambda x: np.where(x > 100, np.nan, 0), "not 0 to 255"),
        (lambda x: (x / 255) ** 2, "between 256 levels"),
    ],
)
def test_images_on_another_scale_are_refused(tmp_path, digits, how, message):
    np.savez(tmp_path / "bad.npz", **scaled(how)(arrays(digits)))
    with pytest.raises(UserError, match=message) as error:
        mnist.load(str(tmp_path / "bad.npz"))
    assert "\n" not in str(error.value)


def test_missing_truncated_and_foreign_files_are_refused(tmp_path, digits):
    np.savez(tmp_path / "good.npz", **arrays(digits))
    whole = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.npz").write_bytes(whole[:5000] + bytes(50) + whole[5050:])
    (tmp_path / "text.npz").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "members.npz", "w") as archive:
        for name in mnist.ARRAYS:
            archive.writestr(f"{name}.npy", b"")
    header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': "
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        for name in mnist.ARRAYS:
            archive.writestr(f"{name}.npy", (header + b"(10**0, 28, 28)}").ljust(128) + b"\n")
    names = ("absent.npz", "cut.npz", "flipped.npz", "text.npz", "members.npz", "huge.npz", "")
    for name in names:
        with pytest.raises(UserError, match=str(tmp_path / name)):
            mnist.load(str(tmp_path / name))


def test_cache_path_matches_keras(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert mnist._keras_cache() == tmp_path / "datasets/mnist.npz"
    monkeypatch.delenv("KERAS_HOME")
    assert mnist._keras_cache() == Path.home() / ".keras/datasets/mnist.npz"


def test_with_a_read_only_home_the_copy_is_where_keras_downloads_to(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "/proc/nonexistent")
    monkeypatch.setattr(mnist, "SECOND_HOME", str(tmp_path))
    assert mnist._keras_cache() == Path("/proc/nonexistent/datasets/mnist.npz")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/mnist.npz").write_bytes(b"")
    assert mnist._keras_cache() == tmp_path / "datasets/mnist.npz"


def test_damaged_copy_in_keras_cache_is_refused_and_left_alone(tmp_path, monkeypatch, digits):
    cached = tmp_path / "mnist.npz"
    np.savez(cached, **arrays(digits))
    before = cached.read_bytes()
    monkeypatch.setattr(mnist, "_keras_cache", lambda: cached)
    with pytest.raises(UserError, match="is not Keras's MNIST"):
        mnist.load("mnist")
    assert cached.read_bytes() == before
