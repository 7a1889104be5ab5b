"""The ways of training that are compared, and those of them that can be had here."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.harness.runtime.backends import PACKAGES
from experiments.harness.spec import UserError, nearest


@dataclass(frozen=True)
class Method:
    """A way of training: ``train`` (``module:function``), on any of ``backends``.

    ``start`` are the arguments of ``determinism.start``, None where the process begins as anyone's
    does; ``needs`` are the modules that it takes beside the backend's.
    """

    name: str
    train: str
    backends: tuple[str, ...]
    start: Mapping[str, Any] | None = None
    needs: tuple[str, ...] = ()


HERE = "experiments.benchmarks"
METHODS = (
    Method("harness", f"{HERE}.harness_run:train", (*PACKAGES,), start={}),
    Method("fit", f"{HERE}.keras_fit:train", (*PACKAGES,)),
    Method("documents", f"{HERE}.graph_loop:train", ("tensorflow",), needs=("cv2",)),
    Method("torch", f"{HERE}.torch_loop:train", ("torch",)),
    Method("jax", f"{HERE}.jax_loop:train", ("jax",)),
)


@dataclass(frozen=True)
class Competitor:
    """A way on one backend."""

    way: Method
    backend: str

    @property
    def name(self) -> str:
        """What tables and records call it."""
        several = len(self.way.backends) > 1
        return f"{self.way.name} {self.backend}" if several else self.way.name


def chosen(names: Sequence[str], backends: Sequence[str]) -> tuple[list[Competitor], list[str]]:
    """Return the peers of these ways and backends, all where empty, and why others are left out.

    Raises ``UserError`` for a name unknown, and where none is left.
    """
    _check(names, [way.name for way in METHODS])
    _check(backends, [*PACKAGES])
    wanted = [
        Competitor(way, backend)
        for way in METHODS
        for backend in way.backends
        if way.name in (names or [way.name]) and backend in (backends or way.backends)
    ]
    left = [
        f"{peer.name}: {module} is not installed" for peer in wanted for module in _missing(peer)
    ]
    here = [peer for peer in wanted if not _missing(peer)]
    if not wanted:
        raise UserError("no way of these is on these backends")
    if not here:
        raise UserError(f"nothing to compare is installed: {'; '.join(left)}")
    return here, left


def _check(words: Sequence[str], known: Sequence[str]) -> None:
    for word in words:
        if word not in known:
            raise UserError(f"there is no {word!r}{nearest(word, known)}")


def _missing(peer: Competitor) -> list[str]:
    modules = (peer.backend, *peer.way.needs)
    return [name for name in modules if importlib.util.find_spec(name) is None]
