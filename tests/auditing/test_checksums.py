"""Checksums of batches, logs and generators' states."""

import random

import numpy as np
import pytest

from experiments.auditing.recording.checksums import (
    batch_checksums,
    components,
    global_generators,
    log_values,
    tensor_digest,
)
from experiments.harness.storage import fingerprint

X = np.arange(12, dtype="float32").reshape(4, 3)
Y = np.arange(4)


def test_a_digest_is_that_of_the_fingerprints():
    assert tensor_digest(X.T) == fingerprint.tensor_digest(X.T)


def test_the_same_examples_in_another_order_have_one_sum_and_other_checksums():
    order = [2, 0, 3, 1]
    (first, examples), (second, permuted) = map(batch_checksums, ((X, Y), (X[order], Y[order])))
    assert examples == permuted
    assert [*first] == ["x", "y"]
    assert not set(first.items()) & set(second.items())
    assert batch_checksums((X, Y[order]))[1] != examples  # other labels for the same inputs


@pytest.mark.parametrize("change", [0, 11])
def test_one_changed_bit_changes_checksum_and_sum(change):
    changed = X.copy()
    changed.flat[change] = np.nextafter(changed.flat[change], np.float32(99))
    (first, examples), (second, others) = batch_checksums((X, Y)), batch_checksums((changed, Y))
    assert (first["x"] != second["x"], first["y"] == second["y"]) == (True, True)
    assert examples != others


def test_components_are_named_by_their_place():
    batch = ({"image": X, "text": Y}, [X, Y], None)
    names = ["x['image']", "x['text']", "y[0]", "y[1]"]
    assert [name for name, _ in components(batch)] == names
    assert [name for name, _ in components(X)] == ["x"]


@pytest.mark.parametrize(
    "odd",
    [np.array(["a", "bcd"]), np.array(["a", "bcd"], object), np.float32(3), np.zeros((0, 3))],
)
def test_texts_scalars_and_nothing_have_checksums(odd):
    checksums, _ = batch_checksums((odd,))
    assert len(checksums["x"]) == 8
    assert len(tensor_digest(odd)) == 16


def test_metrics_are_told_apart_to_the_last_bit():
    assert log_values({"loss": np.float32(0.1)}) == {"loss": repr(float(np.float32(0.1)))}
    assert log_values(None) == {}
    assert log_values({"nan": np.nan}) == {"nan": "nan"}


def test_generators_are_read_and_not_drawn_from():
    random.seed(1)
    np.random.seed(1)
    before = global_generators()
    assert global_generators() == before
    assert (random.random(), np.random.random()) == (0.13436424411240122, 0.417022004702574)
    after = global_generators()
    assert after["python"] != before["python"]
    assert after["numpy"] != before["numpy"]
