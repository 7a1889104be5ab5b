"""Several workers for one oracle: KerasTuner's chief and its client, that come to an end.

The port takes orders from whoever reaches it: loopback and private addresses only.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from typing import Any

from experiments.harness import interrupts
from experiments.harness.making import Tell
from experiments.harness.spec import ProcessError, UserError
from experiments.search.oracles import Exact

LIMIT = 60.0  # seconds of silence after which a worker has lost its trial
PATIENCE = 600.0  # seconds without a sign of any worker after which the chief gives up
OFTEN = 3  # a trial is given out so often at most
TURN = 0.2


def serve(
    oracle: Exact,
    address: str,
    *,
    limit: float = LIMIT,
    patience: float | None = None,
    tell: Tell = print,
    ended: Callable[[], None] = lambda: None,
    workers: Callable[[str], Sequence[BaseProcess]] = lambda _: (),
) -> None:
    """Answer workers until the oracle has no more and all of them know.

    A worker silent for ``limit`` seconds has lost its trial. ``ended`` is called again and again.
    ``workers`` starts those of this process, given where they reach it. Raises ``ProcessError``
    where a trial was given out too often, where no worker is left of those, or where none was
    heard for ``patience`` seconds; ``UserError`` where the address cannot be had.
    """
    import grpc
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    oracle.limit = limit
    server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(oracle), server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        raise UserError(f"cannot listen on {address}: is it in use?") from None
    server.start()
    reached = f"{address.rpartition(':')[0]}:{port}"
    own: Sequence[BaseProcess] = ()
    try:
        own = workers(reached)
        if not own:
            tell(f"chief on {reached}; start workers with --role worker --address {reached}")
        oracle.heard[""] = time.monotonic()
        while not _over(oracle, limit):
            time.sleep(TURN)
            interrupts.check()
            for worker in oracle.recall():
                tell(f"worker {worker} is silent for {limit:g} s; its trial is given out again")
            own = _living(oracle, own, tell)
            _give_up(oracle, own, patience)
            ended()
    finally:
        for process in own:
            process.terminate()
        for process in own:
            process.join()
        server.stop(None)


def _over(oracle: Exact, limit: float) -> bool:
    """Return whether there is nothing left to do, and nobody who has to be told so."""
    if not oracle.over:
        return False
    now = time.monotonic()
    return not any(now - oracle.heard[worker] < min(limit, 10) for worker in oracle.tuner_ids)


def _living(oracle: Exact, own: Sequence[BaseProcess], tell: Tell) -> Sequence[BaseProcess]:
    """Return those of this process's workers that live; take back the trials of the others."""
    living = []
    for process in own:
        if process.is_alive():
            living.append(process)
            continue
        oracle.recall(process.name)
        oracle.tuner_ids.discard(process.name)
        if process.exitcode == 2:
            raise UserError("a worker could not go on, as it said")
        if process.exitcode:
            tell(f"worker {process.name} died; its trial is given out again")
    if own and not living and not oracle.over:
        raise ProcessError("no worker is left; run again to go on")
    return living


def _give_up(oracle: Exact, own: Sequence[BaseProcess], patience: float | None) -> None:
    often = [trial for trial, times in [*oracle.given.items()] if len(times) > OFTEN]
    if often:
        raise ProcessError(f"trial {int(often[0])} was given out {OFTEN} times and never ended")
    heard = max([*oracle.heard.values()])
    if patience and not own and time.monotonic() - heard > patience:
        raise ProcessError(f"no worker was heard for {patience:g} s; run again to go on")


def client(address: str, name: str, wait: float) -> Any:
    """Return KerasTuner's client of the chief at ``address``, for a worker called ``name``.

    Raises ``ProcessError`` where the chief does not answer within ``wait`` seconds, then or later
    (as ``grpc.RpcError``).
    """
    import grpc
    from keras_tuner.src.distribute import oracle_client

    host, _, port = address.rpartition(":")
    os.environ |= {"KERASTUNER_ORACLE_IP": host, "KERASTUNER_ORACLE_PORT": port}
    os.environ["KERASTUNER_TUNER_ID"] = name
    oracle_client.TIMEOUT = wait  # KerasTuner would wait for an hour
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=wait)
    except grpc.FutureTimeoutError:
        raise ProcessError(f"no chief answers at {address} within {wait:g} s") from None
    return oracle_client.OracleClient(None)


def worker_name() -> str:
    """Return a name for this worker: KerasTuner's from the environment, or host and process."""
    return os.environ.get("KERASTUNER_TUNER_ID") or f"{socket.gethostname()}-{os.getpid()}"
