"""A worker's side of KerasTuner's protocol, with shorter timeouts than KerasTuner's hour."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
from keras_tuner.engine.trial import Trial
from keras_tuner.src import protos

from experiments.harness.spec import ProcessError

CREATE_TIMEOUT = 1800.0  # seconds that an oracle may take to choose a trial's values
RETRY_DELAY = 0.2  # seconds
OPTIONS = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 1000)]


class Client:
    """The oracle of the chief at ``address``, for a worker.

    All methods raise ``ProcessError`` if the chief fails, or cannot be reached for ``timeout``
    seconds. They try again if it is back within that time.
    """

    def __init__(self, address: str, timeout: float) -> None:
        self.address, self.timeout = address, timeout
        self.channel = grpc.insecure_channel(address, OPTIONS)
        self.chief = protos.get_service_grpc().OracleStub(self.channel)
        self.messages = protos.get_service()

    def create_trial(self, tuner_id: str) -> Trial:
        """Request a trial for this worker."""
        request = self.messages.CreateTrialRequest(tuner_id=tuner_id)
        return Trial.from_proto(self._call(self.chief.CreateTrial, request, CREATE_TIMEOUT).trial)

    def get_trial(self, trial_id: str) -> Trial:
        """Request the worker's own trial, as a sign of life."""
        request = self.messages.GetTrialRequest(trial_id=trial_id)
        return Trial.from_proto(self._call(self.chief.GetTrial, request, self.timeout).trial)

    def end_trial(self, trial: Trial) -> None:
        """Send a trial with its outcome."""
        request = self.messages.EndTrialRequest(trial=trial.to_proto())
        self._call(self.chief.EndTrial, request, self.timeout)

    def _call(self, method: Callable[..., Any], request: Any, timeout: float) -> Any:
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                left = max(0.0, deadline - time.monotonic())
                grpc.channel_ready_future(self.channel).result(timeout=left)
                return method(request, timeout=timeout, wait_for_ready=True)
            except grpc.FutureTimeoutError:
                raise ProcessError(
                    f"no chief answers at {self.address} within {self.timeout:g} s"
                ) from None
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise ProcessError(
                        f"the chief at {self.address} failed ({error.code().name})"
                    ) from None
                time.sleep(RETRY_DELAY)
