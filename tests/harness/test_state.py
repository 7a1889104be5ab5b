from dataclasses import replace

import numpy as np
import pytest

from experiments.harness import state
from experiments.harness.state import State


def at(interval: int) -> State:
    return State(
        owner="run",
        interval=interval,
        tensors={"conv1/kernel": np.full((2, 3), interval, "float32"), "step": np.array(interval)},
        initial={"test_loss": 2.3},
        rows=tuple({"step": k, "loss": 0.1 * k, "gap": float("nan")} for k in range(interval)),
        chain=tuple("abcdefghij"[: interval + 1]),
        digests=tuple({"conv1/kernel": f"{k}"} for k in range(interval + 1)),
        seconds=1.5,
    )


def test_it_comes_back_as_it_was(tmp_path):
    state.save(at(3), tmp_path)
    found, damaged = state.newest(tmp_path)
    assert damaged == []
    assert repr(replace(found, tensors={})) == repr(replace(at(3), tensors={}))
    for path, tensor in at(3).tensors.items():
        np.testing.assert_array_equal(found.tensors[path], tensor, strict=True)


def test_the_newest_two_are_kept(tmp_path):
    for interval in range(12):
        state.save(at(interval), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000010", "000011"]


def test_nothing_kept_is_nothing_found(tmp_path):
    assert state.newest(tmp_path / "absent") == (None, [])


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("spoil", [cut, flip, lambda _: b"", lambda _: b"text\n"])
def test_a_damaged_newest_is_told_and_the_one_before_taken(tmp_path, spoil):
    state.save(at(3), tmp_path)
    state.save(at(4), tmp_path)
    newest = tmp_path / "000004"
    newest.write_bytes(spoil(newest.read_bytes()))
    found, damaged = state.newest(tmp_path)
    assert found.interval == 3
    assert len(damaged) == 1
    assert "000004 is damaged" in damaged[0]


def test_a_state_outlives_damaged_ones_that_claim_to_be_newer(tmp_path):
    for interval in (7, 8):
        state.save(at(interval), tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    found, damaged = state.newest(tmp_path)
    assert found is None
    assert len(damaged) == 2
    state.save(at(0), tmp_path)
    state.save(at(1), tmp_path)
    assert state.newest(tmp_path)[0].interval == 1
