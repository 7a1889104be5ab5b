"""An experiment of a user's own: a file like the catalogue's, or a module, outside of it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.harness.spec import Experiment, UserError, describe_error
from experiments.harness.spec.overrides import resolve_experiment
from experiments.harness.storage import source_code

MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
SUFFIX = ".py"


def is_own(name: str) -> bool:
    """Return whether ``name`` is a file or a dotted module, not a name in the catalogue."""
    return _is_file(name) or MODULE.fullmatch(name) is not None


def _is_file(name: str) -> bool:
    return name.endswith(SUFFIX) or os.sep in name


def load(name: str, load_other: Callable[[str], Experiment]) -> Experiment:
    """Return the experiment in the file or module ``name``, its arms resolved.

    Its variants may be of arms of the catalogue, which ``load_other`` returns. Modules that it
    names are found in its folder or, for a module, in that which Python found it in. Raises
    ``UserError`` if there is no such file, or if it cannot be read as an experiment.
    """
    path, folder, read = _as_file(name) if _is_file(name) else _as_module(name)
    source_code.add_folder(folder)
    had_keras = "keras" in sys.modules
    try:
        found = getattr(read(), "EXPERIMENT", None)
        if not had_keras and "keras" in sys.modules:
            raise UserError("it imports keras, too early; do that in the functions that need it")
        if found is None:
            raise UserError("it defines no EXPERIMENT")
        if not isinstance(found, Experiment):
            raise UserError(f"its EXPERIMENT is of type {type(found).__name__}, not Experiment")
        named = replace(found, name=path.stem, file=str(path), folder=str(folder))
        return resolve_experiment(named, load_other)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # the file is Python code
        raise UserError(f"{path}: {describe_error(error)}") from None


Found = tuple[Path, Path, Callable[[], Any]]  # the file, the folder of its modules, its reader


def _as_file(name: str) -> Found:
    path = Path(name).absolute()
    if not path.is_file():
        raise UserError(f"there is no file {name}")
    if not re.fullmatch(r"[\w-]+", path.stem) or path.suffix != SUFFIX:
        raise UserError(
            f"{name}: an experiment's file is named by letters and digits, and {SUFFIX}"
        )
    return path, path.parent, lambda: _execute(path)


def _execute(path: Path) -> ModuleType:
    """Execute the file as it is now: a module that was imported before is not used again."""
    spec = importlib.util.spec_from_file_location(f"experiment {path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # for dataclasses
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


def _as_module(name: str) -> Found:
    source_code.add_folder(Path.cwd())
    path = source_code.find(name).absolute()
    if path.stem == "__init__":
        raise UserError(f"{name} is a package; name the module in it that has the EXPERIMENT")
    return path, path.parents[name.count(".")], lambda: importlib.import_module(name)
