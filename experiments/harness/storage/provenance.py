"""The code and packages that a run was trained with."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from experiments.harness.spec.run import Recorded


@cache
def packages() -> dict[str, str]:
    """Return the version of every distribution that is installed, by name."""
    return {d.name: d.version for d in sorted(distributions(), key=lambda d: d.name.lower())}


def describe(commit: str | None) -> str:
    """Return a recorded commit as text."""
    if commit is None:
        return "no commit"
    return f"{commit[:-1]} (modified)" if commit.endswith("+") else commit


def change(run: Recorded) -> str:
    """Return a line about code that changed while a run was trained; empty if it did not."""
    if run.commit_at_end in (None, run.commit):
        return ""
    begin, end = describe(run.commit), describe(run.commit_at_end)
    return f"the code changed during the run: {begin} at its start, {end} at its end"


def commit(folder: Path | None = None) -> str | None:
    """Return the code's git commit, with ``+`` appended if it is modified; None outside git.

    The code is the project's, or all of the repository that ``folder`` is in.
    """
    here = folder or Path(__file__).parents[3]
    parts = () if folder else ("--", "zoo", "experiments")

    def git(*argv: str) -> str:
        return subprocess.run(
            ["git", *argv], cwd=here, check=True, capture_output=True, text=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+" if git("--no-optional-locks", "status", "--porcelain", *parts) else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None
