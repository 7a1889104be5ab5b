"""What the chief does where its workers do not come to their end."""

import time
from types import SimpleNamespace

import pytest

from experiments.harness.space import Dimension
from experiments.harness.spec import ProcessError
from experiments.search import chief
from experiments.search.oracles import build
from tests.search import pretended

RATES = (Dimension(("optimizer.learning_rate",), (1e-3, 1e-2)),)


def test_where_all_workers_of_this_machine_die_with_a_trial_left_it_says_so():
    ended = {0: pretended.formula({"optimizer.learning_rate": 1e-3})}
    oracle = build(pretended.search("grid", space=RATES), ended, lambda _: False)
    assert oracle.create_trial("local0").status == "RUNNING"
    assert oracle.create_trial("local1").status == "IDLE"
    assert oracle.exhausted
    assert not oracle.over
    dead = [SimpleNamespace(name=f"local{k}", exitcode=-9, is_alive=lambda: False) for k in (0, 1)]
    told = []
    with pytest.raises(ProcessError, match="no worker is left"):
        chief._living(oracle, dead, told.append)
    assert len(told) == 2


def test_a_trial_that_nobody_ends_is_not_given_out_for_ever():
    oracle = build(pretended.search("grid", space=RATES), {}, lambda _: False)
    oracle.limit = -1.0  # everybody is silent at once
    for k in range(chief.OFTEN + 1):
        assert oracle.create_trial(f"worker{k}").trial_id == "0000"
    with pytest.raises(ProcessError, match="given out 3 times and never ended"):
        chief._give_up(oracle, chief.Sharing(), time.monotonic(), alone=True)
