"""Which data an arm is trained on: by the dataset's name and what the user names in its place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from experiments.harness.data import faces, mnist
from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import Run, UserError

LOADERS = {"mnist": mnist.load, "frames": faces.load}
VALIDATION_SUFFIX = ":validation"  # a source that ends so is data.Dataset.validating()
BUILT_IN = {"mnist": "mnist", "digits": "mnist", "frames": "frames"}  # sources that are no path


def dataset_of(source: str) -> str:
    """Return which dataset a source is for: by its name, or a folder is frames, a file MNIST."""
    source = source.removesuffix(VALIDATION_SUFFIX)
    return BUILT_IN.get(source) or ("frames" if Path(source).is_dir() else "mnist")


def choose(sources: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Return the source for each dataset that is wanted: its own name where none is given.

    Raises ``UserError`` for a second source of a dataset, and for one of a dataset not wanted.
    """
    chosen = {name: name for name in wanted}
    for source in sources:
        name = dataset_of(source)
        if name not in chosen:
            data = " and ".join(sorted(chosen))
            raise UserError(f"these arms train on {data}; --data {source} is no source of that")
        if chosen[name] != name:
            raise UserError(f"--data names {name} twice: {chosen[name]} and {source}")
        chosen[name] = source
    return chosen


def load_source(name: str, source: str) -> tuple[Dataset, str | None]:
    """Return what ``load`` does from a user's source, which may be of another dataset."""
    return load(name, choose([source], [name])[name])


def load_recorded(run: Run, source: str | None) -> Dataset:
    """Return the dataset that a run was trained on, from ``source``, else by its recorded name.

    Raises ``UserError`` where what is found there is not the same to the last bit.
    """
    name = run.dataset["name"]
    if source is None and name.removesuffix(VALIDATION_SUFFIX) not in BUILT_IN:
        raise UserError(f"the run was trained on {name}; say where that is by --data")
    if source and name.endswith(VALIDATION_SUFFIX):
        source = source.removesuffix(VALIDATION_SUFFIX) + VALIDATION_SUFFIX
    found, _ = load_source(run.arm.dataset, source or name)
    if found.sha256 != run.dataset["sha256"]:
        wanted = f"{name}, sha256 {run.dataset['sha256'][:16]}"
        got = f"{source or found.name} is {found.name}, sha256 {found.sha256[:16]}"
        raise UserError(f"the run was trained on {wanted}; {got}: say where it is by --data")
    return found


def load(name: str, source: str) -> tuple[Dataset, str | None]:
    """Return the dataset called ``name`` from ``source``, and a warning where it is a substitute.

    Raises ``UserError`` for data that cannot be used.
    """
    found, warning = LOADERS[name](source.removesuffix(VALIDATION_SUFFIX))
    return found.validating() if source.endswith(VALIDATION_SUFFIX) else found, warning
