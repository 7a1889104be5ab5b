"""Which data an arm is trained on: by the dataset's name and what the user names in its place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from experiments.harness import frames, mnist
from experiments.harness.data import Dataset
from experiments.harness.spec import UserError

LOADERS = {"mnist": mnist.load, "frames": frames.load}


def kind_of(source: str) -> str:
    """Return which dataset a source is for: a folder is frames, anything else MNIST."""
    return "frames" if source == "frames" or Path(source).is_dir() else "mnist"


def of(sources: Iterable[str]) -> dict[str, str]:
    """Return the source for each dataset's name: the name itself where none is given."""
    chosen = {name: name for name in LOADERS}
    for source in sources:
        name = kind_of(source)
        if chosen[name] != name:
            raise UserError(f"--data names {name} twice: {chosen[name]} and {source}")
        chosen[name] = source
    return chosen


def load(name: str, source: str) -> tuple[Dataset, str | None]:
    """Return the dataset called ``name`` from ``source``, and a warning where it is a substitute.

    Raises ``UserError`` for data that cannot be used.
    """
    return LOADERS[name](source)
