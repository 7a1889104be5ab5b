"""SIGINT and SIGTERM as a ``KeyboardInterrupt`` that cannot get lost. Standard library only.

What is raised in the middle of a backend's C code may crash it (TensorFlow's about once in a
hundred times): a signal waits for the end of an import, and in a training for a ``check()``. A
second one does not wait.
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
AGAIN = signal.SIGALRM  # looks again whether the import has ended
WAIT = 0.05  # seconds until then
_came: list[int] = []
_held: list[bool] = []


@contextmanager
def handle_signals() -> Iterator[None]:
    """Within the block SIGINT and SIGTERM raise ``KeyboardInterrupt``, and ``check()`` then too."""
    handler = partial(_interrupt, sys._getframe(2))
    before = {number: signal.signal(number, handler) for number in (*SIGNALS, AGAIN)}
    hook = sys.unraisablehook
    sys.unraisablehook = lambda dropped: _is_interrupt(dropped) or hook(dropped)
    try:
        yield
    except Exception:  # a library may have made it of the interrupt, as C code does on import
        raise_if_interrupted()
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, earlier in before.items():
            signal.signal(number, earlier)
        _came.clear()


@contextmanager
def defer_signals() -> Iterator[None]:
    """Within the block the first signal is only heeded by ``check()``, and at the block's end."""
    _held.append(True)
    try:
        yield
    finally:
        _held.pop()
    raise_if_interrupted()


def raise_if_interrupted() -> None:
    """Raise ``KeyboardInterrupt`` where a signal came in the block that is under way.

    Python drops what a signal raises in a weak reference's callback or a ``__del__``, and would
    print it.
    """
    if _came:
        raise KeyboardInterrupt


def exit_process(code: int) -> NoReturn:
    """End this process with the exit code of its door; where it was interrupted, at once.

    A backend that was interrupted may go on in its own threads, and JAX then crashes on Python's
    own way out. Signals that come now are too late to change what was done.
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


def _interrupt(block: FrameType, number: int, frame: FrameType | None) -> None:
    if number != AGAIN:
        _came.append(number)
    first = len(_came) == 1
    if first and _imports(frame, block):
        signal.setitimer(signal.ITIMER_REAL, WAIT)
    elif not (first and _held):
        raise KeyboardInterrupt


def _imports(frame: FrameType | None, block: FrameType) -> bool:
    """Return whether an import is under way in ``frame`` that began within ``block``."""
    while frame and frame is not block:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
