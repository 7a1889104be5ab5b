"""A worker's side of KerasTuner's protocol, with deadlines of its own: KerasTuner's is an hour."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
from keras_tuner.engine.trial import Trial
from keras_tuner.src import protos

from experiments.harness.spec import ProcessError

CHOICE = 1800.0  # seconds that an oracle may take to choose a trial's values
PAUSE = 0.2  # seconds until a chief that broke off is asked again
OPTIONS = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1000)]


class Client:
    """The oracle of the chief at ``address``, for a worker.

    All that is asked raises ``ProcessError`` where the chief cannot be reached for ``wait``
    seconds, and where it fails. A chief that is back in that time is asked again.
    """

    def __init__(self, address: str, wait: float) -> None:
        self.address, self.wait = address, wait
        self.channel = grpc.insecure_channel(address, OPTIONS)
        self.chief = protos.get_service_grpc().OracleStub(self.channel)
        self.messages = protos.get_service()

    def create_trial(self, tuner_id: str) -> Trial:
        """Return what the chief gives this worker."""
        request = self.messages.CreateTrialRequest(tuner_id=tuner_id)
        return Trial.from_proto(self._answer(self.chief.CreateTrial, request, CHOICE).trial)

    def get_trial(self, trial_id: str) -> Trial:
        """Tell that the worker is alive, by asking for its trial."""
        request = self.messages.GetTrialRequest(trial_id=trial_id)
        return Trial.from_proto(self._answer(self.chief.GetTrial, request, self.wait).trial)

    def end_trial(self, trial: Trial) -> None:
        """Send what a trial came to."""
        request = self.messages.EndTrialRequest(trial=trial.to_proto())
        self._answer(self.chief.EndTrial, request, self.wait)

    def _answer(self, call: Callable[..., Any], request: Any, limit: float) -> Any:
        until = time.monotonic() + self.wait
        while True:
            try:
                left = max(0.0, until - time.monotonic())
                grpc.channel_ready_future(self.channel).result(timeout=left)
                return call(request, timeout=limit, wait_for_ready=True)
            except grpc.FutureTimeoutError:
                where = f"{self.address} within {self.wait:g} s"
                raise ProcessError(f"no chief answers at {where}") from None
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    facts = f"{self.address} answers no more ({error.code().name})"
                    raise ProcessError(f"the chief at {facts}") from None
                time.sleep(PAUSE)
