import zipfile
from pathlib import Path

import numpy as np
import pytest

from experiments.harness import data
from experiments.harness.spec import UserError

REAL = Path(__file__).parents[3] / "shared/data/mnist.npz"


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("digits")[0]


def arrays(digits: data.Dataset) -> dict[str, np.ndarray]:
    return {name: getattr(digits, name) for name in data.ARRAYS}


def test_the_order_is_a_permutation_an_epoch_and_goes_on_across_its_end():
    n, batch = 10, 4
    seen = np.concatenate([data.order(3, step, batch, n) for step in range(5)])
    for epoch in (seen[:10], seen[10:]):
        assert sorted(epoch) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_the_order_depends_on_seed_and_step_alone():
    one = [data.order(1, step, 7, 100).tolist() for step in range(40)]
    again = [data.order(1, step, 7, 100).tolist() for step in reversed(range(40))]
    assert one == again[::-1]
    assert one != [data.order(2, step, 7, 100).tolist() for step in range(40)]


def test_the_order_of_a_seed_never_changes():
    assert data.order(0, 5, 5, 100).tolist() == [51, 16, 53, 22, 76]


def test_batches_from_a_later_step_are_the_same_ones(digits):
    first, second = data.batches(digits, 0, 5), data.batches(digits, 0, 5, first_step=3)
    for _ in range(3):
        next(first)
    (x, y), (later_x, later_y) = next(first), next(second)
    np.testing.assert_array_equal(x, later_x)
    np.testing.assert_array_equal(y, later_y)
    assert x.shape == (5, 28, 28, 1)
    assert x.dtype == np.float32
    assert 0 <= x.min() < x.max() <= 1


def test_digits_are_all_of_scikit_learns_and_a_stand_in(digits):
    assert len(digits.x_train) + len(digits.x_test) == 1797
    assert digits.identity()["stand_in"]
    assert set(digits.y_test) == set(range(10))
    assert digits.x_train.max() == 255


def test_a_file_laid_out_as_mnist_is_read(tmp_path, digits):
    np.savez(tmp_path / "own.npz", **arrays(digits))
    found, warning = data.load(str(tmp_path / "own.npz"))
    assert (found.sha256, found.name, warning) == (digits.sha256, "own.npz", None)


@pytest.mark.skipif(not REAL.exists(), reason="real MNIST is not here")
def test_real_mnist_is_known_by_its_content():
    found, _ = data.load(str(REAL))
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
        data.load(str(tmp_path / "bad.npz"))


def test_a_missing_a_truncated_and_a_foreign_file_are_refused(tmp_path, digits):
    np.savez(tmp_path / "good.npz", **arrays(digits))
    whole = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.npz").write_bytes(whole[:5000] + bytes(50) + whole[5050:])
    (tmp_path / "text.npz").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "members.npz", "w") as archive:
        for name in data.ARRAYS:
            archive.writestr(f"{name}.npy", b"")
    header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': "
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        for name in data.ARRAYS:
            archive.writestr(f"{name}.npy", (header + b"(10**0, 28, 28)}").ljust(128) + b"\n")
    names = ("absent.npz", "cut.npz", "flipped.npz", "text.npz", "members.npz", "huge.npz", "")
    for name in names:
        with pytest.raises(UserError, match=str(tmp_path / name)):
            data.load(str(tmp_path / name))


def test_kerass_cache_is_where_keras_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert data._keras_cache() == tmp_path / "datasets/mnist.npz"
    monkeypatch.delenv("KERAS_HOME")
    assert data._keras_cache() == Path.home() / ".keras/datasets/mnist.npz"


def test_without_mnist_the_digits_stand_in_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "_keras_cache", lambda: tmp_path / "mnist.npz")

    def offline():
        raise Exception("offline")  # as Keras does

    monkeypatch.setattr(data, "_download", offline)
    found, warning = data.load("mnist")
    assert found.name == "digits"
    assert "offline" in warning


def test_a_damaged_copy_in_kerass_cache_is_refused_and_left_alone(tmp_path, monkeypatch, digits):
    cached = tmp_path / "mnist.npz"
    np.savez(cached, **arrays(digits))
    before = cached.read_bytes()
    monkeypatch.setattr(data, "_keras_cache", lambda: cached)
    with pytest.raises(UserError, match="is not the MNIST"):
        data.load("mnist")
    assert cached.read_bytes() == before
