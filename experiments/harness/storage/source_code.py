"""The code of a user's own files: found by module name, imported, and hashed."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from experiments.harness.spec import UserError, describe_error

REFERENCE = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")  # module:function
HARNESS = ("experiments", "zoo")  # the project's own packages, whose commit a run records

_folders: list[Path] = []  # that modules are found in, besides Python's own, the newest first
_seen: dict[Path, str] = {}  # the digests that files of this process's modules had at first


def is_reference(name: str) -> bool:
    """Return whether ``name`` is of the form ``module:function``."""
    return REFERENCE.fullmatch(name) is not None


def module_of(reference: str) -> str:
    """Return the module of ``module:function``."""
    return reference.partition(":")[0]


def add_folder(folder: Path) -> None:
    """Let Python find modules in ``folder`` too, after all others, here and in workers."""
    if folder in _folders:
        _folders.remove(folder)
    _folders.insert(0, folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()


def load_function(reference: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` names; ``UserError`` if there is none."""
    name, function = reference.split(":")
    path = find(name)
    try:
        module = importlib.import_module(name)
    except Exception as error:  # it is the user's code
        raise UserError(f"{path} cannot be imported: {describe_error(error)}") from None
    if (found := getattr(module, "__file__", None)) is None or Path(found) != path:
        raise UserError(f"{path} cannot be imported: Python has another {name}; rename it")
    if not callable(getattr(module, function, None)):
        raise UserError(f"{path} has no function {function!r}")
    return getattr(module, function)


def find(module: str) -> Path:
    """Return the file of a module, in the added folders or else where Python finds it.

    Raises ``UserError`` if there is none.
    """
    for folder in _folders:
        if path := _in_folder(module, folder):
            return path
    try:
        spec = importlib.util.find_spec(module)
    except Exception as error:  # a parent package is imported
        raise UserError(f"module {module} cannot be found: {describe_error(error)}") from None
    if spec is None or not spec.has_location or spec.origin is None:
        raise UserError(f"there is no module {module}{_looked_in()}")
    return Path(spec.origin)


def digests(folder: Path, roots: Iterable[Path | str]) -> dict[str, str]:
    """Return the SHA-256 of the files of ``roots``, and of all in ``folder`` that they import.

    ``roots`` are files and names of modules. A file in the folder is named by its path from there,
    another by its module.
    """
    found: dict[str, str] = {}
    waiting = [(root, find(root) if isinstance(root, str) else root) for root in roots]
    while waiting:
        root, path = waiting.pop()
        inside = path.is_relative_to(folder)
        name = path.relative_to(folder).as_posix() if inside else str(root)
        if name in found:
            continue
        found[name] = _digest(path)
        if inside:
            waiting += [(each, each) for each in _imported_files(path, folder)]
    return dict(sorted(found.items()))


def check(code: Mapping[str, str], folder: str | None) -> None:
    """Let Python find the code of a run in ``folder``; ``UserError`` if it is not the same now.

    If the folder is gone, the code is looked for in the current one.
    """
    if reason := change(code, folder):
        raise UserError(reason)


def change(code: Mapping[str, str], folder: str | None) -> str:
    """Return how a run's code in ``folder`` differs now, empty if it does not; see ``check``."""
    if folder is None:
        return ""
    here = Path(folder) if Path(folder).is_dir() else Path.cwd()
    add_folder(here)
    for name, digest in code.items():
        path = here / name if name.endswith(".py") else find(name)
        if not path.is_file():
            moved = f"; run this in the folder that has it, {folder} is gone"
            return f"there is no {path}, which the run needs{moved * (here != Path(folder))}"
        if (now := _digest(path)) != digest:
            return (
                f"{path} has changed since the run was trained (sha256 {digest[:16]} then, "
                f"{now[:16]} now); put back what it was"
            )
    return ""


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; ``UserError`` if a module made of it is no longer its code."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    modules = [*sys.modules.values()]  # not by getattr, which may import what they stand for
    if not any(getattr(m, "__dict__", {}).get("__file__") == str(path) for m in modules):
        _seen[path] = digest
    elif _seen.setdefault(path, digest) != digest:
        raise UserError(f"{path} has changed since it was imported; start a new process")
    return digest


def _in_folder(module: str, folder: Path) -> Path | None:
    base = folder.joinpath(*module.split("."))
    candidates = base.with_name(f"{base.name}.py"), base / "__init__.py"
    return next((path for path in candidates if path.is_file()), None)


def _imported_files(path: Path, folder: Path) -> Iterator[Path]:
    """Yield the files in ``folder`` that ``path`` imports, packages' ``__init__.py`` included."""
    package = path.relative_to(folder).parent.parts
    for module in _imported_names(path.read_bytes(), package):
        parts = module.split(".")
        if parts[0] in HARNESS:
            continue
        for end in range(1, len(parts) + 1):
            if found := _in_folder(".".join(parts[:end]), folder):
                yield found


@cache
def _imported_names(source: bytes, package: tuple[str, ...]) -> frozenset[str]:
    """Return what a source file in ``package`` imports: modules, and names that may be some."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # reported when it is imported
        return frozenset()
    found: set[str] = set(filter(None, [".".join(package)]))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            start = [*base, *filter(None, [node.module])]
            found |= {".".join([*start, alias.name]) for alias in node.names}
    return frozenset(found)


def _looked_in() -> str:
    return f" in {', '.join(map(str, _folders))} or in Python's path" if _folders else ""
