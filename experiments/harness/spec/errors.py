"""The errors that commands report in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the person at the keyboard can mend; doors print it as one line, exit 2."""


class ProcessError(RuntimeError):
    """Another process failed; tells the last line of its stderr."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a phrase that offers the known name most like ``name``, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(known)}"
