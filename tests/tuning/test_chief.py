"""The chief and its workers over the loopback, and the ways in which they fail."""

import threading
import time
from types import SimpleNamespace

import grpc
import pytest

from experiments.harness.runtime import signals
from experiments.harness.spec import Dimension, ProcessError
from experiments.tuning.distributed import chief
from experiments.tuning.distributed.client import Client
from experiments.tuning.distributed.worker import _train_with_heartbeat, run_trials
from experiments.tuning.objectives import ORACLES
from experiments.tuning.oracles import build
from tests.helpers import fake_search

TWO_TRIALS = fake_search.make_search(
    "grid", space=(Dimension(("optimizer.learning_rate",), (1e-3, 1e-2)),)
)


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level("INFO", logger="rerun_zoo")


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_three_workers_one_dead_and_one_late_give_the_serial_trials(name, caplog):
    search = fake_search.make_search(name, trials=11)
    oracle, died = build(search, {}), threading.Event()
    oracle.replay()

    def die(_):
        died.set()
        raise SystemExit

    def train_slowly(values):
        time.sleep(0.02)
        return fake_search.formula(values)

    with chief.open_server(oracle, "127.0.0.1:0") as address:

        def start(worker, train):
            arguments = (search, Client(address, 20), worker, train)
            thread = threading.Thread(target=run_trials, args=arguments)
            thread.start()
            return thread

        start("dead", die).join()
        assert died.is_set()
        threads = [start("soon", fake_search.formula)]
        threading.Timer(0.3, lambda: threads.append(start("late", train_slowly))).start()
        options = chief.WorkerOptions(address=address, silence_limit=1.0, patience=60)
        chief.supervise(oracle, options)
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    assert caplog.messages == ["worker dead has been silent for 1 s; its trial is handed out again"]
    assert fake_search.finished_trials(search, oracle) == fake_search.run(search)


def test_a_worker_survives_a_chief_that_restarts_in_time_but_not_one_that_stays_away():
    oracle = build(TWO_TRIALS, {})
    with chief.open_server(oracle, "127.0.0.1:0") as address:
        client = Client(address, 10)
        trial = client.create_trial("one")
    done = threading.Event()

    def restart():
        time.sleep(0.5)
        with chief.open_server(oracle, address):
            done.wait(20)

    thread = threading.Thread(target=restart)
    thread.start()
    try:
        assert client.get_trial(trial.trial_id).status == "RUNNING"
    finally:
        done.set()
        thread.join()
    with pytest.raises(ProcessError, match="no chief answers"):
        Client(address, 0.3).get_trial(trial.trial_id)


def test_a_call_that_breaks_off_is_retried(monkeypatch):
    class UnavailableError(grpc.RpcError):
        def code(self):
            return grpc.StatusCode.UNAVAILABLE

    failures_left = [True]
    with chief.open_server(build(TWO_TRIALS, {}), "127.0.0.1:0") as address:
        client = Client(address, 10)
        get_trial = client.chief.GetTrial

        def fail_once(*args, **kwargs):
            if failures_left:
                failures_left.pop()
                raise UnavailableError
            return get_trial(*args, **kwargs)

        monkeypatch.setattr(client.chief, "GetTrial", fail_once)
        assert client.get_trial("0000").status == "RUNNING"
    assert not failures_left


def test_a_worker_whose_chief_is_gone_stops_training_and_says_so():
    def get_trial(_):
        raise ProcessError("no chief answers")

    def train():
        for _ in range(1000):
            time.sleep(0.01)
            signals.raise_if_interrupted()

    with pytest.raises(ProcessError, match="no chief answers"), signals.handle_signals():
        _train_with_heartbeat(SimpleNamespace(get_trial=get_trial), "0000", 0.05, train)


def test_a_chief_raises_the_error_of_its_oracle():
    oracle = build(TWO_TRIALS, {})
    oracle.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        chief.supervise(oracle, chief.WorkerOptions())


def test_the_death_of_all_local_workers_is_an_error_if_a_trial_is_left(caplog):
    known = {0: fake_search.formula({"optimizer.learning_rate": 1e-3})}
    oracle = build(TWO_TRIALS, known)
    assert oracle.create_trial("local0").status == "RUNNING"
    assert oracle.create_trial("local1").status == "IDLE"
    assert oracle.exhausted
    assert not oracle.is_finished
    dead = [SimpleNamespace(name=f"local{k}", exitcode=-9, is_alive=lambda: False) for k in (0, 1)]
    with pytest.raises(ProcessError, match="all workers have ended"):
        chief._release_dead(oracle, dead)
    assert len(caplog.messages) == 2


def test_a_silent_local_worker_is_killed():
    oracle, killed = build(TWO_TRIALS, {}), []
    oracle.create_trial("local0")
    stuck = SimpleNamespace(
        name="local0", exitcode=-9, is_alive=lambda: not killed, kill=lambda: killed.append(True)
    )
    with pytest.raises(ProcessError, match="all workers have ended"):
        chief.supervise(oracle, chief.WorkerOptions(silence_limit=0.01), [stuck])
    assert killed


def test_a_trial_that_never_finishes_is_not_handed_out_for_ever():
    oracle = build(TWO_TRIALS, {})
    oracle.silence_limit = -1.0  # every worker is silent at once
    for k in range(chief.MAX_ATTEMPTS + 1):
        assert oracle.create_trial(f"worker{k}").trial_id == "0000"
    with pytest.raises(ProcessError, match="handed out 3 times and never finished"):
        chief._check_attempts(oracle)
