"""A task on a Ray worker: run in a clean process of this node, its files sent back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from experiments.harness.runtime import env_vars, subprocesses
from experiments.harness.runtime.filesystem import InUseError
from experiments.harness.runtime.subprocesses import (
    CallTimeoutError,
    FunctionError,
    Process,
    StartError,
)
from experiments.harness.spec import ProcessError, UserError
from experiments.harness.storage import checkpoint, transfer

TICK = 1.0  # seconds; a wait is not interrupted by Ray's cancel
GRACE = 12.0  # seconds that an interrupted process has to save what it has


def run(request: Mapping[str, Any], archive: bytes | None, messages: Any) -> dict[str, Any]:
    """Run a task in a clean process of this node; return its reply, or what it raised.

    ``archive`` has those of the task's directories and inputs that this node does not see.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray's cancel; a job may ignore it
    if archive is None:
        return _relay(request, messages, lambda: None)
    try:
        with _copies(request, archive, messages) as send_new_states:
            return _relay(request, messages, send_new_states)
    except InUseError as error:
        return {"died": str(error)}
    except UserError as error:
        return {"unusable": str(error)}


@contextmanager
def _copies(
    request: Mapping[str, Any], archive: bytes, messages: Any
) -> Iterator[Callable[[], None]]:
    """Make this node's copies of what it does not see, for the block.

    Yields a function to call now and then, which sends new states to the caller. At the end of the
    block the directories are sent, and the copies deleted.
    """
    directories = [Path(name) for name in request["directories"]]
    paths = [*directories, *map(Path, request["inputs"])]

    def newest_states() -> list[int]:
        states = [checkpoint.saved(path / transfer.STATES) for path in directories]
        return [max(found, default=-1) for found in states]

    def send(all_checkpoints: bool) -> None:
        import ray

        packed = transfer.pack(directories, all_checkpoints)
        ray.get(messages.save.remote(request["attempt"], packed))

    with ExitStack() as stack:
        for path, content in zip(paths, transfer.read(archive, len(paths)), strict=True):
            stack.enter_context(transfer.temporary_copy(path, content))
        sent, due = newest_states(), time.monotonic() + request["snapshot"]

        def send_new_states() -> None:
            nonlocal sent, due
            if time.monotonic() < due:
                return
            if (states := newest_states()) != sent:
                send(all_checkpoints=False)
                sent = states
            due = time.monotonic() + request["snapshot"]

        try:
            yield send_new_states
        finally:
            send(request["all_checkpoints"])


def _relay(
    request: Mapping[str, Any], messages: Any, on_tick: Callable[[], None]
) -> dict[str, Any]:
    """Make the task's call in a clean process."""
    changing = env_vars.bit_changing(os.environ)
    environ = {name: text for name, text in os.environ.items() if name not in changing}
    process = Process({**environ, **request["variables"]})
    try:
        process.send(*request["call"], name=request["name"], with_log=True)
        return _wait(process, messages, on_tick)
    except StartError as error:
        return {"unusable": str(error)}
    except UserError as error:
        return {"user_error": str(error)}
    except FunctionError as error:
        return {"error": str(error)}
    except ProcessError as error:
        return {"died": str(error)}
    except KeyboardInterrupt:
        subprocesses.interrupt([process], GRACE)
        raise
    finally:
        process.kill()


def _wait(process: Process, messages: Any, on_tick: Callable[[], None]) -> dict[str, Any]:
    """Return the process's answer, relaying its messages and calling ``on_tick`` meanwhile."""
    while True:
        try:
            reply: dict[str, Any] = process.wait(
                TICK, lambda level, text: messages.log.remote(level, text)
            )
        except CallTimeoutError:
            on_tick()
        else:
            return reply
