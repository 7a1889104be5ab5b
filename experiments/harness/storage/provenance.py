"""The code and packages that a run was trained with."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import distributions
from pathlib import Path


@cache
def packages() -> dict[str, str]:
    """Return the version of every distribution that is installed, by name."""
    return {d.name: d.version for d in sorted(distributions(), key=lambda d: d.name.lower())}


def commit() -> str | None:
    """Return the code's git commit, with ``+`` appended if it is modified; None outside git."""
    here = Path(__file__).parents[3]

    def git(*argv: str) -> str:
        return subprocess.run(
            ["git", *argv], cwd=here, check=True, capture_output=True, text=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+" if git("status", "--porcelain", "--", "zoo", "experiments") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None
