"""Keras functional networks, one per file, found by module name.

``zoo.names()`` lists them, ``zoo.card(name)`` describes one, ``zoo.build(name, **options)`` builds
it. Keras is imported by the first ``card`` or ``build``, not before.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING, Any

from zoo.card import Card

if TYPE_CHECKING:
    import keras

_SHARED = {"card", "layers", "losses"}  # modules that are not networks


def names() -> list[str]:
    """Return the names of all networks, sorted."""
    modules = pkgutil.iter_modules(__path__)
    return sorted(module.name for module in modules if module.name not in _SHARED)


def card(name: str) -> Card:
    """Return the card of the network called ``name``; ``ValueError`` if there is none."""
    return _module(name).CARD


def build(name: str, **options: Any) -> keras.Model:
    """Build the network called ``name`` and return it uncompiled.

    Raises ``ValueError`` for an unknown name or an option out of range, and ``TypeError`` for an
    option that the network does not have.
    """
    return _module(name).build(**options)


def _module(name: str) -> ModuleType:
    if name not in names():
        raise ValueError(f"unknown network {name!r}; available: {', '.join(names())}")
    return importlib.import_module(f"zoo.{name}")
