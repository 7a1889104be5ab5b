"""The ways to train that are compared, and which of them can run here."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.harness.runtime.backends import PACKAGES
from experiments.harness.spec import UserError, nearest

BASELINES = "experiments.benchmarks.baselines"


@dataclass(frozen=True)
class Method:
    """A way to train: the function ``train`` (``module:name``), on any of ``backends``.

    ``packages`` are needed beside the backend's own. ``start``: arguments of
    ``determinism.start()``, called before it; None starts as a plain script does.
    """

    name: str
    train: str
    backends: tuple[str, ...]
    packages: tuple[str, ...] = ()
    start: Mapping[str, bool] | None = None


METHODS = (
    Method("harness", f"{BASELINES}.harness_run:train", (*PACKAGES,), start={}),
    Method("portable", f"{BASELINES}.harness_run:train", ("jax",), start={"portable": True}),
    Method("fit", f"{BASELINES}.keras_fit:train", (*PACKAGES,)),
    Method("documents", f"{BASELINES}.graph_loop:train", ("tensorflow",), packages=("cv2",)),
    Method("torch", f"{BASELINES}.torch_loop:train", ("torch",)),
    Method("jax", f"{BASELINES}.jax_loop:train", ("jax",)),
)


@dataclass(frozen=True)
class Competitor:
    """A method on one backend."""

    method: Method
    backend: str

    @property
    def name(self) -> str:
        """The name in tables and records."""
        if len(self.method.backends) == 1:
            return self.method.name
        return f"{self.method.name} {self.backend}"

    def missing_packages(self) -> list[str]:
        """Return the packages that it needs and that are not installed."""
        needed = (self.backend, *self.method.packages)
        return [name for name in needed if importlib.util.find_spec(name) is None]


def select_competitors(
    names: Sequence[str], backends: Sequence[str]
) -> tuple[list[Competitor], list[str]]:
    """Return the competitors that can run here, and a line for each package that others lack.

    ``names`` and ``backends`` select them; empty selects all. Raises ``UserError`` for an unknown
    name, and if no competitor is left.
    """
    _check("way", names, [method.name for method in METHODS])
    _check("backend", backends, [*PACKAGES])
    selected = [
        Competitor(method, backend)
        for method in METHODS
        for backend in method.backends
        if method.name in (names or [method.name]) and backend in (backends or method.backends)
    ]
    if not selected:
        raise UserError("none of these ways runs on these backends; see --help")
    left_out = [
        f"{competitor.name}: {package} is not installed"
        for competitor in selected
        for package in competitor.missing_packages()
    ]
    available = [competitor for competitor in selected if not competitor.missing_packages()]
    if not available:
        raise UserError(f"none of these ways can run here: {'; '.join(left_out)}")
    return available, left_out


def _check(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"unknown {kind} {name!r}{nearest(name, known)}")
