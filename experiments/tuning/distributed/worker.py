"""A worker: it asks an oracle for trials, trains them, and sends what they came to."""

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
from experiments.tuning.replayable_oracle import OUTCOME, SEARCH
from experiments.tuning.search import Search, SearchLocation
from experiments.tuning.trial import Outcome

PAUSE = 0.5  # seconds until a worker that has to wait asks again
BEAT = 1.0  # seconds between two signs of life

Train = Callable[[Mapping[str, Any]], Outcome]


def run_trials(
    search: Search, oracle: Any, name: str, train: Train, *, beat: float | None = None
) -> None:
    """Train trials until the oracle has no more.

    ``oracle`` is one of ``oracles`` or a ``Client`` of the chief that has it, ``name`` the
    worker's. Every ``beat`` seconds the oracle is told that the worker is alive. Raises
    ``UserError`` where the chief conducts another search.
    """
    while (trial := oracle.create_trial(name)).status != "STOPPED":
        if trial.status == "IDLE":
            time.sleep(PAUSE)
            continue
        if trial.hyperparameters.values[SEARCH] != search.digest:
            raise UserError("the chief conducts another search, or on another kind of machine")
        once = partial(_trained, train, values_of(search, trial))
        outcome = _beating(oracle, trial.trial_id, beat, once) if beat else once()
        trial.hyperparameters.values[OUTCOME] = json.dumps(asdict(outcome))
        trial.status = "COMPLETED"
        oracle.end_trial(trial)


def _trained(train: Train, values: Mapping[str, Any]) -> Outcome:
    """Train a trial; where a worker that was taken for dead still does so here, wait for it."""
    while True:
        try:
            return train(values)
        except InUseError:
            time.sleep(PAUSE)


def _beating(oracle: Any, trial_id: str, beat: float, train: Callable[[], Outcome]) -> Outcome:
    """Train while the oracle hears that the worker is alive; in the main thread alone.

    Raises ``ProcessError`` where nobody hears any more, as soon as training can be interrupted.
    """
    over, gone = threading.Event(), list[ProcessError]()

    def run() -> None:
        while not over.wait(beat):
            try:
                oracle.get_trial(trial_id)
            except ProcessError as error:
                gone.append(error)
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=run, daemon=True)
    try:
        with signals.handle_signals():  # the signal must not outlive the block
            thread.start()
            try:
                return train()
            finally:
                over.set()
                thread.join()
    except KeyboardInterrupt:
        if gone:
            raise gone[0] from None
        raise


def trial_function(search: Search, place: SearchLocation, dataset: Dataset) -> Train:
    """Return what trains a trial's values in this process."""

    def train(values: Mapping[str, Any]) -> Outcome:
        with log.quiet():
            return search.trainer.train(values, place.directory, dataset, place.telemetry)

    return train


def serve_chief(
    search: Search,
    place: SearchLocation,
    dataset: Dataset,
    address: str,
    limit: float,
    name: str | None = None,
) -> None:
    """Train what the chief at ``address`` gives out, until it has no more.

    Raises ``ProcessError`` where the chief cannot be reached for ``limit`` seconds.
    """
    train = trial_function(search, place, dataset)

    def told(values: Mapping[str, Any]) -> Outcome:
        outcome = train(values)
        logger.info(f"{search.trainer.objective} {outcome.score:.4g}: {values}")
        return outcome

    run_trials(search, Client(address, limit), name or worker_name(), told, beat=BEAT)


def worker_name() -> str:
    """Return a name for this worker: KerasTuner's from the environment, or host and process."""
    return os.environ.get("KERASTUNER_TUNER_ID") or f"{socket.gethostname()}-{os.getpid()}"
