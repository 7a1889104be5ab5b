"""What a Ray worker does with a task: a clean process carries it out, and its files come back."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.harness.execution import transfer
from experiments.harness.execution.local import interrupt
from experiments.harness.runtime import env_vars
from experiments.harness.runtime.subprocesses import CallTimeoutError, FunctionError, Process
from experiments.harness.spec import ProcessError, UserError
from experiments.harness.storage import checkpoint

TICK = 1.0  # seconds; a wait is not interrupted by Ray's cancel
GRACE = 12.0  # seconds that an interrupted process has to save what it has


def carry_out(order: Mapping[str, Any], archive: bytes | None, messages: Any) -> dict[str, Any]:
    """Carry out a task in a clean process of this node; return its reply, or what it raised.

    ``archive`` has the task's directories and inputs, unless this node sees the caller's.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray's cancel; a job may ignore it
    if archive is None:
        return _relay(order, messages, lambda: None)
    copies = Copies(order, messages)
    try:
        transfer.unpack(archive, copies.paths)
    except UserError as error:
        return {"unusable": str(error)}
    try:
        return _relay(order, messages, copies.send_new_states)
    finally:
        copies.send_and_remove()


class Copies:
    """This node's copies of a task's directories and inputs."""

    def __init__(self, order: Mapping[str, Any], messages: Any) -> None:
        self.order, self.messages = order, messages
        self.directories = [Path(name) for name in order["directories"]]
        self.paths = [*self.directories, *map(Path, order["inputs"])]
        self.sent, self.next = self._newest_states(), time.monotonic() + order["snapshot"]

    def send_new_states(self) -> None:
        """Send the directories to the caller if they have new states, but not too often."""
        if time.monotonic() < self.next:
            return
        if (states := self._newest_states()) != self.sent:
            self._send(whole=False)
            self.sent = states
        self.next = time.monotonic() + self.order["snapshot"]

    def send_and_remove(self) -> None:
        """Send the directories to the caller, and delete the copies."""
        self._send(self.order["whole"])
        for path in self.paths if not self._is_callers() else ():
            transfer.remove(path)

    def _send(self, whole: bool) -> None:
        import ray

        archive = transfer.pack(self.directories, whole)
        ray.get(self.messages.save.remote(self.order["attempt"], archive))

    def _newest_states(self) -> list[int]:
        states = [checkpoint.saved(path / transfer.STATES) for path in self.directories]
        return [max(found, default=-1) for found in states]

    def _is_callers(self) -> bool:
        """Return whether the files are the caller's own, which a slow file system may show late."""
        return all(Path(token).exists() for token in self.order["tokens"])


def _relay(order: Mapping[str, Any], messages: Any, on_tick: Callable[[], None]) -> dict[str, Any]:
    """Do the task's call in a clean process."""
    decided = env_vars.deciding(os.environ)
    environ = {name: text for name, text in os.environ.items() if name not in decided}
    process = Process({**environ, **order["variables"]})
    try:
        process.send(*order["call"], name=order["name"], with_log=True)
        return _wait(process, order["seconds"] or math.inf, messages, on_tick)
    except UserError as error:
        return {"user_error": str(error)}
    except FunctionError as error:
        return {"error": str(error)}
    except ProcessError as error:
        return {"died": str(error)}
    except KeyboardInterrupt:
        interrupt([process], GRACE)
        raise
    finally:
        process.kill()


def _wait(
    process: Process, seconds: float, messages: Any, on_tick: Callable[[], None]
) -> dict[str, Any]:
    """Return the process's answer, relaying its messages and calling ``on_tick`` meanwhile."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            reply: dict[str, Any] = process.wait(
                TICK, lambda level, text: messages.log.remote(level, text)
            )
        except CallTimeoutError:
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"{process.name} did not finish within {seconds:.0f} s"
                ) from None
            on_tick()
        else:
            return reply
