"""Sources of datasets: names and paths, as ``--data`` takes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from experiments.harness.data import faces, mnist, own
from experiments.harness.data.dataset import Dataset
from experiments.harness.spec import RunSpec, UserError
from experiments.harness.storage import source_code
from experiments.harness.storage.source_code import is_reference

LOADERS = {"mnist": mnist.load, "frames": faces.load}
VALIDATION_SUFFIX = ":validation"  # for Dataset.with_validation_split()
BUILT_IN = {  # sources that are not paths, and the datasets that they are for
    "mnist": "mnist",
    **dict.fromkeys(mnist.EMBEDDED, "mnist"),
    "frames": "frames",
}


def dataset_for_source(source: str, wanted: Iterable[str] = ()) -> str:
    """Return the dataset that a source is for: a folder is for frames, a file for MNIST.

    A user's own datasets that are ``wanted`` come first: one itself, else the only one there is.
    """
    source = source.removesuffix(VALIDATION_SUFFIX)
    if source in BUILT_IN:
        return BUILT_IN[source]
    own_names = [name for name in wanted if own.is_own(name)]
    if source in own_names:
        return source
    if len(own_names) == 1 and own.is_own(source):
        return own_names[0]
    return "frames" if Path(source).is_dir() else "mnist"


def sources_by_dataset(
    sources: Iterable[str], wanted: Iterable[str], folder: str = ""
) -> dict[str, str]:
    """Return the source of each wanted dataset, which is its own name by default.

    A user's own file is by default in ``folder``, that of the experiment. Raises ``UserError`` for
    two sources of one dataset, or a source of a dataset not wanted.
    """
    by_dataset = {name: name for name in wanted}
    for source in sources:
        if not source.removesuffix(VALIDATION_SUFFIX):
            raise UserError("--data is empty; leave it out for the default")
        name = dataset_for_source(source, by_dataset)
        if name not in by_dataset:
            names = " and ".join(sorted(by_dataset))
            raise UserError(f"these arms train on {names}, but --data {source} is for {name}")
        if by_dataset[name] != name:
            raise UserError(f"--data names {name} twice: {by_dataset[name]} and {source}")
        by_dataset[name] = source
    return {name: _default_in(folder, name, source) for name, source in by_dataset.items()}


def _default_in(folder: str, name: str, source: str) -> str:
    """Return the source with its path in ``folder`` if it is a dataset's own file."""
    is_default = source.removesuffix(VALIDATION_SUFFIX) == name and name.endswith(own.SUFFIX)
    return str(Path(folder, source)) if is_default else source


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
    source_code.check(spec.code, spec.code_folder)
    if source is None and path and (is_reference(path) or Path(path).exists()):
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
    """Return the absolute path of a source, or its function; None if it is built in."""
    path = source.removesuffix(VALIDATION_SUFFIX)
    if is_reference(path):
        return path
    return None if path in BUILT_IN else str(Path(path).absolute())


def load(name: str, source: str) -> tuple[Dataset, str | None]:
    """Return the dataset called ``name`` from ``source``, and a warning if it is a substitute.

    Raises ``UserError`` for data that cannot be used.
    """
    dataset, warning = _load(name, source.removesuffix(VALIDATION_SUFFIX))
    if source.endswith(VALIDATION_SUFFIX):
        dataset = dataset.with_validation_split()
    return dataset, warning


def _load(name: str, source: str) -> tuple[Dataset, str | None]:
    if name in LOADERS:
        return LOADERS[name](source)
    if not own.is_own(name):
        raise UserError(
            f"unknown dataset {name!r}; available: {', '.join(LOADERS)}, module:function, or a "
            f"file {name}{own.SUFFIX}"
        )
    is_its_own = source == name or Path(source).name == Path(name).name
    return own.load(source, stand_in=not is_its_own), None
