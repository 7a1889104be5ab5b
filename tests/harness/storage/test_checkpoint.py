import hashlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from experiments.harness.spec import History
from experiments.harness.storage import checkpoint
from experiments.harness.storage.checkpoint import Checkpoint


def losses(k: int) -> dict[str, float]:
    return {"loss": 0.1 * k, "test_loss": 0.2 * k}


def at(interval: int) -> Checkpoint:
    return Checkpoint(
        run_id="run",
        interval=interval,
        tensors={"conv1/kernel": np.full((2, 3), interval, "float32"), "step": np.array(interval)},
        initial={"test_loss": 2.3},
        history=History(
            tuple({"step": k, **losses(k), "gap": float("nan")} for k in range(interval))
        ),
        chain=tuple("abcdefghij"[: interval + 1]),
        digests=tuple({"conv1/kernel": f"{k}"} for k in range(interval + 1)),
        seconds=1.5,
        cpu_seconds=2.5,
    )


def test_a_loaded_checkpoint_equals_the_saved_one(tmp_path):
    checkpoint.save(at(3), tmp_path)
    found, damaged = checkpoint.load_newest(tmp_path)
    assert damaged == []
    assert repr(replace(found, tensors={})) == repr(replace(at(3), tensors={}))
    for path, tensor in at(3).tensors.items():
        np.testing.assert_array_equal(found.tensors[path], tensor, strict=True)


def test_an_older_checkpoint_is_loaded_without_what_it_lacks(tmp_path):
    checkpoint.save(at(3), tmp_path)
    path = checkpoint.path(tmp_path, 3)
    with np.load(io.BytesIO(path.read_bytes().split(b"\n", 2)[2])) as saved:
        arrays = dict(saved)
    facts = json.loads(arrays["_facts"].item())
    for name in ("initial", "digests", "cpu_seconds"):
        del facts[name]
    np.savez(buffer := io.BytesIO(), **arrays | {"_facts": np.array(json.dumps(facts))})
    checksum = hashlib.sha256(buffer.getvalue()).hexdigest().encode()
    path.write_bytes(checkpoint.MAGIC + checksum + b"\n" + buffer.getvalue())
    found = checkpoint.load(path)
    assert (found.initial, found.digests, found.cpu_seconds) == ({}, ({},) * 4, None)
    assert (found.chain, found.seconds) == (at(3).chain, at(3).seconds)


def test_the_newest_two_and_the_initial_one_stay(tmp_path):
    (tmp_path / "000003.bak").write_text("a user's")
    for interval in range(12):
        checkpoint.save(at(interval), tmp_path)
    assert [path.name for path in checkpoint.saved(tmp_path).values()] == [
        "000000",
        "000010",
        "000011",
    ]
    assert (tmp_path / "000003.bak").exists()
    assert checkpoint.load_newest(tmp_path, until=10)[0].interval == 10
    assert checkpoint.load_newest(tmp_path, until=9)[0].interval == 0


@pytest.mark.parametrize(
    ("nonfinite", "expected"),
    [
        ({}, []),
        ({"loss": {6, 7, 8}, "test_loss": {6, 7, 8}}, [6]),
        ({"loss": {6, 7, 8}, "test_loss": {3, 5, 6, 7, 8}}, [5, 6]),
        ({"test_loss": {3, 5}}, []),
        ({"test_loss": {3, 8}}, [8]),
        ({"loss": {1}, "test_loss": {1}}, [1]),
    ],
)
def test_the_checkpoint_before_the_first_nonfinite_step_stays(tmp_path, nonfinite, expected):
    """``nonfinite``: the intervals, of eight, in which each loss is NaN."""
    rows = tuple(
        {name: float("nan") if k in nonfinite.get(name, ()) else 1.0 for name in losses(k)}
        for k in range(1, 9)
    )
    for interval in range(9):
        checkpoint.save(replace(at(interval), history=History(rows[:interval])), tmp_path)
    assert checkpoint.nonfinite_candidates(History(rows)) == expected
    left = {int(path.name) for path in tmp_path.iterdir()}
    assert left == {0, 7, 8} | {k - 1 for k in expected[:1]}


def test_without_a_checkpoint_none_is_loaded(tmp_path):
    assert checkpoint.load_newest(tmp_path / "absent") == (None, [])


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda _: b"", lambda _: b"text\n"])
def test_a_damaged_newest_is_reported_and_the_one_before_loaded(tmp_path, damage):
    checkpoint.save(at(3), tmp_path)
    checkpoint.save(at(4), tmp_path)
    newest = tmp_path / "000004"
    newest.write_bytes(damage(newest.read_bytes()))
    found, damaged = checkpoint.load_newest(tmp_path)
    assert found.interval == 3
    assert len(damaged) == 1
    assert "000004 is damaged" in damaged[0]


def test_a_new_checkpoint_replaces_damaged_ones_with_higher_numbers(tmp_path):
    for interval in (7, 8):
        checkpoint.save(at(interval), tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    found, damaged = checkpoint.load_newest(tmp_path)
    assert found is None
    assert len(damaged) == 2
    checkpoint.save(at(0), tmp_path)
    checkpoint.save(at(1), tmp_path)
    assert checkpoint.load_newest(tmp_path)[0].interval == 1
