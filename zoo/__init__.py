"""What can be built: Keras functional networks, one a file, found by module name.

``zoo.names()`` lists them, ``zoo.card(name)`` tells about one, ``zoo.build(name, **options)``
builds it. Keras is imported on the first ``card`` or ``build``, not before.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING, Any

from zoo.card import Card

if TYPE_CHECKING:
    import keras

_SHARED = {"card", "layers", "losses"}  # what the networks are made of: no networks themselves


def names() -> list[str]:
    """Return the names of all networks, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _SHARED)


def card(name: str) -> Card:
    """Return the card of the network called ``name``; ``ValueError`` where there is none."""
    return _module(name).CARD


def build(name: str, **options: Any) -> keras.Model:
    """Build the network called ``name``, uncompiled.

    Raises ``ValueError`` for an unknown name or an option out of range, ``TypeError`` for an
    option that the network does not have.
    """
    return _module(name).build(**options)


def _module(name: str) -> ModuleType:
    if name not in names():
        raise ValueError(f"no network is called {name!r}; there are: {', '.join(names())}")
    return importlib.import_module(f"zoo.{name}")
