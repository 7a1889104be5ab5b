from pathlib import Path

from experiments.harness.making import _abreast

A, B, C, D = map(Path, "abcd")


def test_what_is_trained_together_is_an_interval_apart_at_most():
    assert _abreast({A: 3, B: 19, C: 2, D: 3}) == [[C, A, D], [B]]
    assert _abreast({A: 0, B: 1, C: 2}) == [[A, B], [C]]
    assert _abreast({}) == []
