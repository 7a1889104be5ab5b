"""Errors that commands report in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad use or bad input; commands print it as one line and exit with 2."""


class ProcessError(RuntimeError):
    """Another process failed; the message ends with the last line of its stderr."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the known name most like ``name``, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; available: {', '.join(known)}"


def describe_error(error: Exception) -> str:
    """Return an error of a user's code in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
