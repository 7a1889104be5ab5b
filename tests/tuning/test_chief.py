"""The chief and its workers, over the loopback, and where they do not come to their end."""

import threading
import time
from types import SimpleNamespace

import grpc
import pytest

from experiments.harness.runtime import signals
from experiments.harness.spec import Dimension, ProcessError
from experiments.tuning.distributed import chief
from experiments.tuning.distributed.client import Client
from experiments.tuning.distributed.worker import _beating, run_trials
from experiments.tuning.objectives import ORACLES
from experiments.tuning.oracles import build
from tests.helpers import fake_search
from tests.helpers.fake_search import nobodys

RATES = (Dimension(("optimizer.learning_rate",), (1e-3, 1e-2)),)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_three_workers_one_of_them_dead_and_one_late_try_the_serial_trials(name):
    told = fake_search.search(name, trials=11)
    oracle, lines, lost = build(told, {}, nobodys), [], threading.Event()
    oracle.replay()

    def dying(_):
        lost.set()
        raise SystemExit

    def late(values):
        time.sleep(0.02)
        return fake_search.formula(values)

    with chief.serving(oracle, "127.0.0.1:0") as reached:

        def start(who, train):
            thread = threading.Thread(
                target=run_trials, args=(told, Client(reached, 20), who, train)
            )
            thread.start()
            return thread

        start("dead", dying).join()
        assert lost.is_set()
        threads = [start("soon", fake_search.formula)]
        threading.Timer(0.3, lambda: threads.append(start("late", late))).start()
        sharing = chief.Sharing(address=reached, limit=1.0, patience=60)
        chief.serve(oracle, sharing, tell=lines.append)
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    assert lines == ["worker dead is silent for 1 s; its trial is given out again"]
    assert fake_search.tried(told, oracle) == fake_search.searched(told)


def test_a_worker_outlives_a_chief_that_is_back_in_time_and_no_other():
    oracle = build(fake_search.search("grid", space=RATES), {}, nobodys)
    with chief.serving(oracle, "127.0.0.1:0") as reached:
        client = Client(reached, 10)
        trial = client.create_trial("one")
    back = threading.Event()

    def again():
        time.sleep(0.5)
        with chief.serving(oracle, reached):
            back.wait(20)

    thread = threading.Thread(target=again)
    thread.start()
    try:
        assert client.get_trial(trial.trial_id).status == "RUNNING"
    finally:
        back.set()
        thread.join()
    with pytest.raises(ProcessError, match="no chief answers"):
        Client(reached, 0.3).get_trial(trial.trial_id)


def test_a_chief_that_breaks_off_is_asked_again(monkeypatch):
    class BrokenOffError(grpc.RpcError):
        def code(self):
            return grpc.StatusCode.UNAVAILABLE

    oracle, broken = build(fake_search.search("grid", space=RATES), {}, nobodys), [True]
    with chief.serving(oracle, "127.0.0.1:0") as reached:
        client = Client(reached, 10)
        ask = client.chief.GetTrial

        def break_off(*told, **options):
            if broken:
                broken.pop()
                raise BrokenOffError
            return ask(*told, **options)

        monkeypatch.setattr(client.chief, "GetTrial", break_off)
        assert client.get_trial("0000").status == "RUNNING"
    assert not broken


def test_a_worker_whom_nobody_hears_stops_training_and_says_so():
    def get_trial(_):
        raise ProcessError("no chief answers")

    def train():
        for _ in range(1000):
            time.sleep(0.01)
            signals.raise_if_interrupted()

    with pytest.raises(ProcessError, match="no chief answers"), signals.handle_signals():
        _beating(SimpleNamespace(get_trial=get_trial), "0000", 0.05, train)


def test_a_chief_whose_oracle_fails_ends():
    oracle = build(fake_search.search("grid", space=RATES), {}, nobodys)
    oracle.broken = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        chief.serve(oracle, chief.Sharing())


def test_where_all_workers_of_this_machine_die_with_a_trial_left_it_says_so():
    ended = {0: fake_search.formula({"optimizer.learning_rate": 1e-3})}
    oracle = build(fake_search.search("grid", space=RATES), ended, nobodys)
    assert oracle.create_trial("local0").status == "RUNNING"
    assert oracle.create_trial("local1").status == "IDLE"
    assert oracle.exhausted
    assert not oracle.over
    dead = [SimpleNamespace(name=f"local{k}", exitcode=-9, is_alive=lambda: False) for k in (0, 1)]
    told = []
    with pytest.raises(ProcessError, match="no worker is left"):
        chief._living(oracle, dead, told.append)
    assert len(told) == 2


def test_a_worker_of_this_machine_that_is_silent_is_killed():
    oracle, killed = build(fake_search.search("grid", space=RATES), {}, nobodys), []
    oracle.create_trial("local0")
    stuck = SimpleNamespace(
        name="local0", exitcode=-9, is_alive=lambda: not killed, kill=lambda: killed.append(True)
    )
    with pytest.raises(ProcessError, match="no worker is left"):
        chief.serve(oracle, chief.Sharing(jobs=1, limit=0.01), [stuck], lambda _: None)
    assert killed


def test_a_trial_that_nobody_ends_is_not_given_out_for_ever():
    oracle = build(fake_search.search("grid", space=RATES), {}, nobodys)
    oracle.limit = -1.0  # everybody is silent at once
    for k in range(chief.OFTEN + 1):
        assert oracle.create_trial(f"worker{k}").trial_id == "0000"
    with pytest.raises(ProcessError, match="given out 3 times and never ended"):
        chief._give_up(oracle, chief.Sharing(), time.monotonic(), alone=True)
