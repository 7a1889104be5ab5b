"""Progress messages: everything below the commands logs to ``rerun_zoo``, and prints nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("rerun_zoo")


class PrintHandler(logging.Handler):
    """Print each message at once, to wherever ``sys.stdout`` points by then."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


@contextmanager
def to_stdout() -> Iterator[None]:
    """Within the block, print the messages on stdout."""
    with _handled_by(PrintHandler()):
        yield


@contextmanager
def to_stdout_by_default() -> Iterator[None]:
    """Within the block, print the messages on stdout unless the caller has configured logging."""
    if logger.hasHandlers():
        yield
        return
    with to_stdout():
        yield


def announce(line: str) -> None:
    """Log a line from within a user's own program: printed unless logging is configured."""
    with to_stdout_by_default():
        logger.info(line)


@contextmanager
def quiet(level: int = logging.INFO) -> Iterator[None]:
    """Within the block, drop the messages up to ``level``."""
    before = logger.level
    logger.setLevel(level + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def prefixed(prefix: str) -> Iterator[None]:
    """Within the block, put ``prefix`` before each message."""

    def add(record: logging.LogRecord) -> bool:
        record.msg, record.args = f"{prefix}{record.getMessage()}", ()
        return True

    logger.addFilter(add)
    try:
        yield
    finally:
        logger.removeFilter(add)


@contextmanager
def _handled_by(handler: logging.Handler) -> Iterator[None]:
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
