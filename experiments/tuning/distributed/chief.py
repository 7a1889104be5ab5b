"""Several workers for one oracle: KerasTuner's chief, that comes to an end.

The port takes orders from whoever reaches it: loopback and private addresses only.
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

from experiments.harness.runtime import signals
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, UserError
from experiments.tuning.replayable_oracle import ReplayableOracle

OFTEN = 3  # a trial is given out so often at most
TURN = 0.2
FAREWELL = 1.0  # seconds in which the last answers are sent


@dataclass(frozen=True)
class Sharing:
    """Who trains the trials: ``jobs`` processes here, or, with an ``address``, workers elsewhere.

    A worker loses its trial where it is silent for ``limit`` seconds, or has had it for
    ``longest``. Where no worker elsewhere is heard for ``patience`` seconds the chief gives up.
    """

    jobs: int = 1
    address: str | None = None
    limit: float = 60.0
    longest: float = 24 * 3600.0
    patience: float = 600.0


@contextmanager
def serving(oracle: ReplayableOracle, address: str) -> Iterator[str]:
    """Let workers reach the oracle within the block; yield where they do.

    Raises ``UserError`` where the address cannot be had.
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
        server.stop(FAREWELL).wait()


def serve(oracle: ReplayableOracle, sharing: Sharing, own: Sequence[BaseProcess] = ()) -> None:
    """Look after the workers, ``own`` processes or others, until no trial is left and all know.

    Raises ``ProcessError`` where a trial was given out too often, where no worker is left of the
    own ones, or where no other was heard for too long; and what an answer to a worker raised.
    """
    oracle.limit, oracle.longest = sharing.limit, sharing.longest
    begun = time.monotonic()
    while not _over(oracle, sharing.limit):
        time.sleep(TURN)
        signals.raise_if_interrupted()
        if oracle.broken:
            raise oracle.broken
        for worker, why in oracle.lost():
            logger.info(f"worker {worker} {why}; its trial is given out again")
            for process in own:
                if process.name == worker:
                    process.kill()  # it may hold the run's directory
        own = _living(oracle, own)
        _give_up(oracle, sharing, begun, alone=not own)


def _over(oracle: ReplayableOracle, limit: float) -> bool:
    """Return whether there is nothing left to do, and nobody who has to be told so."""
    with oracle.guard:
        now = time.monotonic()
        waiting = [now - oracle.heard[worker] < min(limit, 10) for worker in oracle.tuner_ids]
        return oracle.over and not any(waiting)


def _living(oracle: ReplayableOracle, own: Sequence[BaseProcess]) -> Sequence[BaseProcess]:
    """Return those of this process's workers that live; take back the trials of the others."""
    living = [process for process in own if process.is_alive()]
    for process in own:
        if process in living:
            continue
        oracle.dismiss(process.name)
        if process.exitcode == 2:
            raise UserError("a worker could not go on, as it said")
        if process.exitcode:
            logger.info(f"worker {process.name} died; its trial is given out again")
    if own and not living and not oracle.over:
        raise ProcessError("no worker is left; run again to go on")
    return living


def _give_up(oracle: ReplayableOracle, sharing: Sharing, begun: float, *, alone: bool) -> None:
    with oracle.guard:
        often = [trial for trial, times in oracle.given.items() if len(times) > OFTEN]
        heard = max([begun, *oracle.heard.values(), *oracle.alive.values()])
    if often:
        raise ProcessError(f"trial {int(often[0])} was given out {OFTEN} times and never ended")
    if alone and time.monotonic() - heard > sharing.patience:
        raise ProcessError(f"no worker was heard for {sharing.patience:g} s; run again to go on")
