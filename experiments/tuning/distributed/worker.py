"""A worker: it requests trials from an oracle, trains them, and sends their outcomes."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from experiments.harness.data.dataset import Dataset
from experiments.harness.runtime import log, signals
from experiments.harness.runtime.filesystem import InUseError
from experiments.harness.runtime.log import logger
from experiments.harness.spec import ProcessError, UserError
from experiments.tuning.distributed.client import Client
from experiments.tuning.oracles import values_of
from experiments.tuning.replayable_oracle import OUTCOME_KEY, SEARCH_KEY
from experiments.tuning.search import Search, SearchLocation
from experiments.tuning.trial import Outcome

RETRY_DELAY = 0.5  # seconds until a worker that has to wait tries again
HEARTBEAT = 1.0  # seconds between two signs of life

Train = Callable[[Mapping[str, Any]], Outcome]


def run_trials(
    search: Search, oracle: Any, name: str, train: Train, *, heartbeat: float | None = None
) -> None:
    """Train trials until the oracle has no more.

    ``oracle`` is a ``ReplayableOracle`` or a ``Client``, ``name`` the worker's. The worker sends a
    sign of life every ``heartbeat`` seconds. Raises ``UserError`` if the chief runs another search.
    """
    while (trial := oracle.create_trial(name)).status != "STOPPED":
        if trial.status == "IDLE":
            time.sleep(RETRY_DELAY)
            continue
        if trial.hyperparameters.values[SEARCH_KEY] != search.digest:
            raise UserError("the chief runs another search, or on another kind of machine")
        train_trial = partial(_train_when_free, train, values_of(search, trial))
        if heartbeat:
            outcome = _train_with_heartbeat(oracle, trial.trial_id, heartbeat, train_trial)
        else:
            outcome = train_trial()
        trial.hyperparameters.values[OUTCOME_KEY] = json.dumps(asdict(outcome))
        trial.status = "COMPLETED"
        oracle.end_trial(trial)


def _train_when_free(train: Train, values: Mapping[str, Any]) -> Outcome:
    """Train a trial, waiting while a worker that was taken for dead still holds its directory."""
    while True:
        try:
            return train(values)
        except InUseError:
            time.sleep(RETRY_DELAY)


def _train_with_heartbeat(
    oracle: Any, trial_id: str, heartbeat: float, train: Callable[[], Outcome]
) -> Outcome:
    """Train in the main thread while another thread sends signs of life.

    If one cannot be sent, interrupt the training and raise its ``ProcessError``.
    """
    finished, failures = threading.Event(), list[ProcessError]()

    def send_signs() -> None:
        while not finished.wait(heartbeat):
            try:
                oracle.get_trial(trial_id)
            except ProcessError as error:
                failures.append(error)
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=send_signs, daemon=True)
    try:
        with signals.handle_signals():  # the signal must not outlive the block
            thread.start()
            try:
                return train()
            finally:
                finished.set()
                thread.join()
    except KeyboardInterrupt:
        if failures:
            raise failures[0] from None
        raise


def trial_function(search: Search, location: SearchLocation, dataset: Dataset) -> Train:
    """Return a function that trains a trial's values in this process."""

    def train(values: Mapping[str, Any]) -> Outcome:
        with log.quiet():
            return search.trainer.train(
                values, location.directory, dataset, location.telemetry_every
            )

    return train


def run_worker(
    search: Search,
    location: SearchLocation,
    dataset: Dataset,
    address: str,
    timeout: float,
    name: str | None = None,
) -> None:
    """Train the trials of the chief at ``address`` until it has no more.

    Raises ``ProcessError`` if the chief cannot be reached for ``timeout`` seconds.
    """
    train = trial_function(search, location, dataset)

    def train_and_log(values: Mapping[str, Any]) -> Outcome:
        outcome = train(values)
        logger.info(f"{outcome.summary(search.trainer.objective)}: {values}")
        return outcome

    client = Client(address, timeout)
    run_trials(search, client, name or worker_name(), train_and_log, heartbeat=HEARTBEAT)


def worker_name() -> str:
    """Return a name for this worker: KerasTuner's from the environment, or host and process."""
    return os.environ.get("KERASTUNER_TUNER_ID") or f"{socket.gethostname()}-{os.getpid()}"
