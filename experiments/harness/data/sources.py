"""Sources of datasets: names and paths, as ``--data`` takes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from experiments.harness.data import faces, mnist
from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import RunSpec, UserError

LOADERS = {"mnist": mnist.load, "frames": faces.load}
VALIDATION_SUFFIX = ":validation"  # for Dataset.with_validation_split()
BUILT_IN = {  # sources that are not paths, and the datasets that they are for
    "mnist": "mnist",
    **dict.fromkeys(mnist.EMBEDDED, "mnist"),
    "frames": "frames",
}


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
        if not source.removesuffix(VALIDATION_SUFFIX):
            raise UserError("--data is empty; leave it out for the default")
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


def recorded_source(spec: RunSpec) -> str | None:
    """Return what ``--data`` takes for the data that a run was trained on; None if unknown.

    Unknown is also where MNIST was: by its own name, other data may be loaded.
    """
    name = spec.dataset["name"].removesuffix(VALIDATION_SUFFIX)
    return spec.data_source or (name if name in BUILT_IN and spec.dataset["stand_in"] else None)


def load_recorded(spec: RunSpec, source: str | None) -> Dataset:
    """Return the dataset that a run was trained on.

    It is read from ``source`` or else, if the run's data is still there, from its recorded path or
    by its recorded name. Raises ``UserError`` if the data there differs.
    """
    name, path = spec.dataset["name"], spec.data_source
    built_in = name.removesuffix(VALIDATION_SUFFIX) in BUILT_IN
    if source is None and path and Path(path).exists():
        try:
            return load_recorded(spec, path)
        except UserError:
            if not built_in:
                raise
    if source is None and not built_in:
        location = f" in {path}, which is gone" if path else ""
        raise UserError(f"the run was trained on {name}{location}; give its path with --data")
    source = name if source is None else source
    if name.endswith(VALIDATION_SUFFIX):
        source = source.removesuffix(VALIDATION_SUFFIX) + VALIDATION_SUFFIX
    dataset, _ = load_source(spec.arm.dataset, source)
    if dataset.sha256 != spec.dataset["sha256"]:
        recorded = f"{name} (sha256 {spec.dataset['sha256'][:16]})"
        found = f"{source} is {dataset.name} (sha256 {dataset.sha256[:16]})"
        raise UserError(
            f"the run was trained on {recorded}, but {found}; give its path with --data"
        )
    return dataset


def absolute_path(source: str) -> str | None:
    """Return the absolute path of a source; None if it is not a path."""
    path = source.removesuffix(VALIDATION_SUFFIX)
    return None if path in BUILT_IN else str(Path(path).absolute())


def load(name: str, source: str) -> tuple[Dataset, str | None]:
    """Return the dataset called ``name`` from ``source``, and a warning if it is a substitute.

    Raises ``UserError`` for data that cannot be used.
    """
    dataset, warning = LOADERS[name](source.removesuffix(VALIDATION_SUFFIX))
    if source.endswith(VALIDATION_SUFFIX):
        dataset = dataset.with_validation_split()
    return dataset, warning
