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
        (replacing("x_train", np.zeros((5, 28, 28))), "not uint8"),
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


def test_digits_stand_in_for_missing_mnist_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "_keras_cache", lambda: tmp_path / "mnist.npz")

    def offline():
        raise Exception("offline")  # as Keras does

    monkeypatch.setattr(mnist, "_download", offline)
    data, warning = mnist.load("mnist")
    assert data.name == "digits"
    assert "offline" in warning


def test_damaged_copy_in_keras_cache_is_refused_and_left_alone(tmp_path, monkeypatch, digits):
    cached = tmp_path / "mnist.npz"
    np.savez(cached, **arrays(digits))
    before = cached.read_bytes()
    monkeypatch.setattr(mnist, "_keras_cache", lambda: cached)
    with pytest.raises(UserError, match="is not Keras's MNIST"):
        mnist.load("mnist")
    assert cached.read_bytes() == before
