"""Sources of datasets: names and paths, as ``--data`` takes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from experiments.harness.data import faces, mnist
from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import RunSpec, UserError

LOADERS = {"mnist": mnist.load, "frames": faces.load}
VALIDATION_SUFFIX = ":validation"  # for Dataset.with_validation_split()
BUILT_IN = {"mnist": "mnist", "digits": "mnist", "frames": "frames"}  # sources that are not paths


def dataset_for_source(source: str) -> str:
    """Return the dataset that a source is for: a folder is for frames, a file for MNIST."""
    source = source.removesuffix(VALIDATION_SUFFIX)
    return BUILT_IN.get(source) or ("frames" if Path(source).is_dir() else "mnist")


def sources_by_dataset(sources: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Return the source of each wanted dataset, which is its own name by default.

    Raises ``UserError`` for two sources of one dataset, or a source of a dataset not wanted.
    """
    by_dataset = {name: name for name in wanted}
    for source in sources:
        name = dataset_for_source(source)
        if name not in by_dataset:
            names = " and ".join(sorted(by_dataset))
            raise UserError(f"these arms train on {names}, but --data {source} is for {name}")
        if by_dataset[name] != name:
            raise UserError(f"--data names {name} twice: {by_dataset[name]} and {source}")
        by_dataset[name] = source
    return by_dataset


def load_source(name: str, source: str) -> tuple[Dataset, str | None]:
    """Return ``load(name, source)``; ``UserError`` if ``source`` is for another dataset."""
    return load(name, sources_by_dataset([source], [name])[name])


def load_recorded(spec: RunSpec, source: str | None) -> Dataset:
    """Return the dataset that a run was trained on, from ``source`` or else its recorded name.

    Raises ``UserError`` if the data there differs.
    """
    name = spec.dataset["name"]
    if source is None and name.removesuffix(VALIDATION_SUFFIX) not in BUILT_IN:
        raise UserError(f"the run was trained on {name}; give its path with --data")
    if source and name.endswith(VALIDATION_SUFFIX):
        source = source.removesuffix(VALIDATION_SUFFIX) + VALIDATION_SUFFIX
    dataset, _ = load_source(spec.arm.dataset, source or name)
    if dataset.sha256 != spec.dataset["sha256"]:
        recorded = f"{name} (sha256 {spec.dataset['sha256'][:16]})"
        found = f"{source or name} is {dataset.name} (sha256 {dataset.sha256[:16]})"
        raise UserError(
            f"the run was trained on {recorded}, but {found}; give its path with --data"
        )
    return dataset


def load(name: str, source: str) -> tuple[Dataset, str | None]:
    """Return the dataset called ``name`` from ``source``, and a warning if it is a substitute.

    Raises ``UserError`` for data that cannot be used.
    """
    dataset, warning = LOADERS[name](source.removesuffix(VALIDATION_SUFFIX))
    if source.endswith(VALIDATION_SUFFIX):
        dataset = dataset.with_validation_split()
    return dataset, warning
