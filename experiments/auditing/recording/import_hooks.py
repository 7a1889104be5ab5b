"""Call a function as soon as the script has imported a package, and say where the script stands."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

Action = Callable[[], None]
Note = Callable[[str], None]  # called with what a switch has acted on
OWN = str(Path(__file__).parent)
LIBRARIES = tuple(
    {path for name, path in sysconfig.get_paths().items() if name.endswith(("lib", "stdlib"))}
    | {OWN, "<", str(Path(sysconfig.__file__).parent)}
)

GENERATED = "__autograph_generated_file"  # what TensorFlow makes of a function, by a random name


class ImportHooks(importlib.abc.MetaPathFinder):
    """A finder that leaves every import alone, and calls the actions of those that it waits for."""

    def __init__(self) -> None:
        self.actions: dict[str, list[Action]] = {}
        self.is_searching = False

    def after(self, package: str, action: Action) -> None:
        """Call ``action`` once, right after the script's first import of ``package``."""
        self.actions.setdefault(package, []).append(action)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that would be found without this finder, its execution followed."""
        if name not in self.actions or self.is_searching:
            return None
        self.is_searching = True
        try:
            spec = importlib.util.find_spec(name)  # which asks this finder, too
        finally:
            self.is_searching = False
        if spec and spec.loader:
            self._follow(name, spec.loader)
        return spec

    def _follow(self, name: str, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            execute(module)
            for action in self.actions.pop(name, ()):  # others only ask whether there is a spec
                action()

        loader.exec_module = exec_module


def script_frame() -> FrameType | None:
    """Return the innermost frame of the script's own files, not of a library or generated code."""
    frame: FrameType | None = sys._getframe(1)
    while frame and not is_own_file(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def script_line() -> str:
    """Return where the script stands, as ``file.py:12``; empty outside it."""
    frame = script_frame()
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else ""


def called_by_script() -> bool:
    """Return whether the function that asks was called by the script itself, not by a library."""
    frame: FrameType | None = sys._getframe(1)
    while frame and frame.f_code.co_filename.startswith(OWN):
        frame = frame.f_back
    return frame is not None and is_own_code(frame.f_code.co_filename)


@cache
def is_own_code(filename: str) -> bool:
    """Return whether code belongs to the script: neither to a library nor to the interpreter."""
    return not filename.startswith(LIBRARIES)


def is_own_file(filename: str) -> bool:
    """Return whether a file belongs to the script, and was not generated while it ran."""
    return is_own_code(filename) and GENERATED not in filename
