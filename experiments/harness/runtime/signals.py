"""SIGINT and SIGTERM as a ``KeyboardInterrupt`` that cannot get lost. Standard library only.

An exception raised in the middle of a backend's C code may crash it (TensorFlow about once in a
hundred times). A signal therefore waits for the end of an import, and during training for
``raise_if_interrupted()``. A second signal does not wait.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, NoReturn

INTERRUPTED = 130  # the exit code
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Checks again whether the import has ended. None without timers: signals interrupt imports too.
RETRY_SIGNAL = getattr(signal, "SIGALRM", None) if hasattr(signal, "setitimer") else None
RETRY_DELAY = 0.05  # seconds
_received: list[int] = []  # the signals since the block of ``handle_signals`` began
_deferrals = 0  # how many blocks of ``defer_signals`` are active


@contextmanager
def handle_signals() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` on SIGINT and SIGTERM within the block."""
    # The frame of the caller's with statement: 0 is this generator, 1 contextlib's __enter__.
    handler = partial(_on_signal, sys._getframe(2))
    handled = (*SIGNALS, RETRY_SIGNAL) if RETRY_SIGNAL else SIGNALS
    old_handlers = {number: signal.signal(number, handler) for number in handled}
    old_hook = sys.unraisablehook
    sys.unraisablehook = lambda dropped: _is_interrupt(dropped) or old_hook(dropped)
    try:
        yield
    except Exception:  # a library may have converted the interrupt, as C code does on import
        raise_if_interrupted()
        raise
    finally:
        if RETRY_SIGNAL:
            signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = old_hook
        for number, old_handler in old_handlers.items():
            signal.signal(number, old_handler)
        _received.clear()


@contextmanager
def keep_handlers() -> Iterator[None]:
    """Undo what a library does to the handlers of SIGINT and SIGTERM within the block."""
    old_handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    except SystemExit:  # by a handler of the library
        raise KeyboardInterrupt from None
    finally:
        for number, old_handler in old_handlers.items():
            signal.signal(number, old_handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Let the first signal wait for ``raise_if_interrupted()`` or for the end of the block."""
    global _deferrals
    _deferrals += 1
    try:
        yield
    finally:
        _deferrals -= 1
    raise_if_interrupted()


def raise_if_interrupted() -> None:
    """Raise ``KeyboardInterrupt`` if a signal has arrived within the block of ``handle_signals``.

    Python drops an exception raised in a weak reference's callback or in ``__del__``, so the one
    that the signal raised may be lost.
    """
    if _received:
        raise KeyboardInterrupt


def exit_process(code: int) -> NoReturn:
    """End this process with ``code``, ignoring further signals; at once if it was interrupted.

    An interrupted backend may still run in its own threads, and JAX then crashes during Python's
    normal shutdown.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if code != INTERRUPTED:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _is_interrupt(dropped: Any) -> bool:
    return issubclass(dropped.exc_type, KeyboardInterrupt)


def _on_signal(block: FrameType, number: int, frame: FrameType | None) -> None:
    if number != RETRY_SIGNAL:
        _received.append(number)
    first = len(_received) == 1
    if first and RETRY_SIGNAL and _is_importing(frame, block):
        signal.setitimer(signal.ITIMER_REAL, RETRY_DELAY)
    elif not (first and _deferrals):
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None, block: FrameType) -> bool:
    """Return whether ``frame`` is inside an import that began within ``block``."""
    while frame and frame is not block:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
