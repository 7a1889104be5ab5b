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


def test_digits_are_all_of_scikit_learns_and_a_stand_in(digits):
    assert len(digits.x_train) + len(digits.x_test) == 1797
    assert digits.identity()["stand_in"]
    assert set(digits.y_test) == set(range(10))
    assert digits.x_train.max() == 255


def test_a_file_laid_out_as_mnist_is_read(tmp_path, digits):
    np.savez(tmp_path / "own.npz", **arrays(digits))
    found, warning = mnist.load(str(tmp_path / "own.npz"))
    assert (found.sha256, found.name, warning) == (digits.sha256, "own.npz", None)


@pytest.mark.skipif(not REAL.exists(), reason="real MNIST is not here")
def test_real_mnist_is_known_by_its_content():
    found, _ = mnist.load(str(REAL))
    assert found.identity()["stand_in"] is False
    assert found.name == "mnist"
    assert (found.x_train.shape, found.x_test.shape) == ((60_000, 28, 28), (10_000, 28, 28))
    assert (found.y_test[:1000] == 0).sum() == 85  # the document's accuracy of a NaN network


def spoil(name: str, value: np.ndarray):
    return lambda good: good | {name: value}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda good: {k: v for k, v in good.items() if k != "y_test"}, "has no y_test"),
        (spoil("x_train", np.zeros((5, 28, 28))), "not uint8"),
        (spoil("x_train", np.zeros((5, 32, 32), "uint8")), r"not uint8 \(n, 28, 28\)"),
        (spoil("x_test", np.zeros((0, 28, 28), "uint8")), "x_test"),
        (spoil("y_train", np.zeros(5, "int64")), "not integers"),
        (spoil("y_test", np.full(500, 10)), "labels outside"),
        (spoil("y_test", np.array([{}] * 500)), "cannot be read"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, digits, change, words):
    np.savez(tmp_path / "bad.npz", **change(arrays(digits)))
    with pytest.raises(UserError, match=words):
        mnist.load(str(tmp_path / "bad.npz"))


def test_a_missing_a_truncated_and_a_foreign_file_are_refused(tmp_path, digits):
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


def test_kerass_cache_is_where_keras_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert mnist._keras_cache() == tmp_path / "datasets/mnist.npz"
    monkeypatch.delenv("KERAS_HOME")
    assert mnist._keras_cache() == Path.home() / ".keras/datasets/mnist.npz"


def test_without_mnist_the_digits_stand_in_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "_keras_cache", lambda: tmp_path / "mnist.npz")

    def offline():
        raise Exception("offline")  # as Keras does

    monkeypatch.setattr(mnist, "_download", offline)
    found, warning = mnist.load("mnist")
    assert found.name == "digits"
    assert "offline" in warning


def test_a_damaged_copy_in_kerass_cache_is_refused_and_left_alone(tmp_path, monkeypatch, digits):
    cached = tmp_path / "mnist.npz"
    np.savez(cached, **arrays(digits))
    before = cached.read_bytes()
    monkeypatch.setattr(mnist, "_keras_cache", lambda: cached)
    with pytest.raises(UserError, match="is not the MNIST"):
        mnist.load("mnist")
    assert cached.read_bytes() == before
