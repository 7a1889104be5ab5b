"""The chief: it hands out the trials of one oracle to several workers, and ends when they do.

The port accepts requests from anyone: loopback and private addresses only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer

from experiments.harness.runtime import signals, worker_pool
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, UserError
from experiments.tuning.replayable_oracle import ReplayableOracle

MAX_ATTEMPTS = 3  # how often a trial is handed out
POLL_INTERVAL = 0.2  # seconds
SHUTDOWN_GRACE = 1.0  # seconds for the last replies
MAX_WAIT = 10.0  # seconds since a worker's last request in which it is expected to send another


@dataclass(frozen=True)
class WorkerOptions:
    """Who trains the trials: ``jobs`` local processes, or with an ``address`` workers elsewhere.

    All times are in seconds. A worker loses its trial if it is silent for ``silence_limit``, or has
    had the trial for ``trial_time_limit``. The chief gives up if no worker elsewhere sends anything
    for ``patience``.
    """

    jobs: int = 1
    address: str | None = None
    silence_limit: float = 60.0
    trial_time_limit: float = 24 * 3600.0
    patience: float = 600.0


@contextmanager
def open_server(oracle: ReplayableOracle, address: str) -> Iterator[str]:
    """Serve the oracle to workers within the block; yield the address, with the actual port.

    Raises ``UserError`` if the address is not available.
    """
    server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(oracle), server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        raise UserError(f"cannot listen on {address}: is it in use?") from None
    server.start()
    try:
        yield f"{address.rpartition(':')[0]}:{port}"
    finally:
        server.stop(SHUTDOWN_GRACE).wait()


def supervise(
    oracle: ReplayableOracle, options: WorkerOptions, processes: Sequence[BaseProcess] = ()
) -> None:
    """Wait until no trial is left and every worker knows; reassign the trials of lost workers.

    ``processes`` are the local workers, if any. Raises ``ProcessError`` if a trial was handed out
    too often, if all local workers have ended, or if no other worker was heard from for too long;
    and the oracle's own error.
    """
    oracle.silence_limit = options.silence_limit
    oracle.trial_time_limit = options.trial_time_limit
    started = time.monotonic()
    while not _is_done(oracle, options.silence_limit):
        time.sleep(POLL_INTERVAL)
        signals.raise_if_interrupted()
        if oracle.error:
            raise oracle.error
        for worker, reason in oracle.lost_workers():
            logger.info(f"worker {worker} {reason}; its trial is handed out again")
            for process in processes:
                if process.name == worker:
                    process.kill()  # it may hold the lock of the run's directory
        processes = _release_dead(oracle, processes)
        _check_attempts(oracle)
        if not processes:
            _check_silence(oracle, options.patience, started)


def _is_done(oracle: ReplayableOracle, silence_limit: float) -> bool:
    """Return whether no trial is left, and no worker is still waiting to learn that."""
    with oracle.lock:
        now, limit = time.monotonic(), min(silence_limit, MAX_WAIT)
        waiting = [now - oracle.last_request[worker] < limit for worker in oracle.tuner_ids]
        return oracle.is_finished and not any(waiting)


def _release_dead(
    oracle: ReplayableOracle, processes: Sequence[BaseProcess]
) -> Sequence[BaseProcess]:
    """Take back the trials of local workers that have ended; return the others."""
    alive = [process for process in processes if process.is_alive()]
    for process in processes:
        if process in alive:
            continue
        oracle.release_worker(process.name)
        if process.exitcode == worker_pool.NO_MAIN_GUARD:
            raise UserError(worker_pool.NEEDS_MAIN_GUARD)
        if process.exitcode == 2:
            raise UserError("a worker failed; its message is above")
        if process.exitcode:
            logger.info(f"worker {process.name} died; its trial is handed out again")
    if processes and not alive and not oracle.is_finished:
        raise ProcessError("all workers have ended; run again to resume")
    return alive


def _check_attempts(oracle: ReplayableOracle) -> None:
    with oracle.lock:
        stuck = [trial for trial, times in oracle.handed_out.items() if len(times) > MAX_ATTEMPTS]
    if stuck:
        raise ProcessError(
            f"trial {int(stuck[0])} was handed out {MAX_ATTEMPTS} times and never finished"
        )


def _check_silence(oracle: ReplayableOracle, patience: float, started: float) -> None:
    with oracle.lock:
        latest = max([started, *oracle.last_request.values(), *oracle.last_sign.values()])
    if time.monotonic() - latest > patience:
        raise ProcessError(f"no worker was heard from for {patience:g} s; run again to resume")
