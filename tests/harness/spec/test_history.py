import pytest

from experiments.harness.spec import History

HISTORY = History.from_columns({"step": [3, 6], "loss": [2.0, 1.0]})


def test_a_history_maps_each_column_to_its_values():
    assert dict(HISTORY) == {"step": (3, 6), "loss": (2.0, 1.0)}
    assert list(HISTORY) == ["step", "loss"]
    assert len(HISTORY) == 2
    assert "gap" not in HISTORY
    with pytest.raises(KeyError, match="gap"):
        HISTORY["gap"]


def test_appending_a_row_leaves_the_history_unchanged():
    longer = HISTORY.append({"step": 9, "loss": 0.5})
    assert longer["loss"] == (2.0, 1.0, 0.5)
    assert longer.rows[-1] == {"step": 9, "loss": 0.5}
    assert HISTORY["loss"] == (2.0, 1.0)


def test_an_empty_history_has_no_columns():
    assert (dict(History()), len(History())) == ({}, 0)
    assert History.from_columns({}) == History()
    assert History().append({"loss": 1.0}) == History.from_columns({"loss": [1.0]})


def test_columns_of_different_lengths_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        History.from_columns({"step": [3, 6], "loss": [2.0]})


def test_an_interval_is_finite_if_both_losses_are():
    nan, inf = float("nan"), float("inf")
    history = History.from_columns(
        {"loss": [1.0, nan, 1.0, inf], "test_loss": [1.0, 1.0, -inf, nan], "gap": [nan] * 4}
    )
    assert history.finite == (True, False, False, False)
    assert History().finite == ()
