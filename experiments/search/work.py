"""A worker: it asks an oracle for trials, trains them, and sends what they came to."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from experiments.harness.files import InUseError
from experiments.harness.spec import UserError
from experiments.search.oracles import OUTCOME, SEARCH, values_of
from experiments.search.plan import Search
from experiments.search.trial import Outcome

PAUSE = 0.5  # seconds until a worker that has to wait asks again
BEAT = 1.0  # seconds between two signs of life

Train = Callable[[Mapping[str, Any]], Outcome]


def work(
    search: Search,
    oracle: Any,
    name: str,
    train: Train,
    *,
    beat: float | None = None,
    ended: Callable[[], None] = lambda: None,
) -> None:
    """Train trials until the oracle has no more.

    ``oracle`` is one of ``oracles`` or KerasTuner's client of a chief that has it, ``name`` the
    worker's. Every ``beat`` seconds the oracle is told that the worker is alive. ``ended`` is
    called after each trial. Raises ``UserError`` where the chief conducts another search.
    """
    while (trial := oracle.create_trial(name)).status != "STOPPED":
        if trial.status == "IDLE":
            time.sleep(PAUSE)
            continue
        if trial.hyperparameters.values[SEARCH] != search.digest:
            raise UserError("the chief conducts another search, or on another kind of machine")
        with _beating(oracle, trial.trial_id, beat):
            outcome = _trained(train, values_of(search, trial))
        trial.hyperparameters.values[OUTCOME] = json.dumps(asdict(outcome))
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        ended()


def _trained(train: Train, values: Mapping[str, Any]) -> Outcome:
    """Train a trial; where a worker that was taken for dead still does so here, wait for it."""
    while True:
        try:
            return train(values)
        except InUseError:
            time.sleep(PAUSE)


@contextmanager
def _beating(oracle: Any, trial_id: str, beat: float | None) -> Iterator[None]:
    """While the block lasts, be heard; where nobody hears any more, interrupt this process."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(beat):
            try:
                oracle.get_trial(trial_id)
            except Exception:  # of gRPC, whose errors have no better base
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=run, daemon=True)
    if beat:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if beat:
            thread.join()
