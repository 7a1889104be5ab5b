"""Keras functional networks, one per file, found by module name.

``zoo.names()`` lists them, ``zoo.card(name)`` describes one, ``zoo.build(name, **options)`` builds
it, with the weights of a run if wanted. Keras is imported by the first ``card`` or ``build``, not
before.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from zoo import weights as _weights
from zoo.card import Card

if TYPE_CHECKING:
    import keras

_SHARED = {"card", "layers", "losses", "optimizers", "weights"}  # modules that are not networks


def names(pattern: str = "*", *, trained: bool = False) -> list[str]:
    """Return the names of the networks, sorted: those that match a pattern such as ``*cnn``.

    ``trained``: only networks with recorded runs, whose arms are ``card(name).trained``.
    """
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [
        name
        for name in found
        if name not in _SHARED
        and fnmatch(name, pattern)
        and (not trained or _weights.trained_arms(name))
    ]


def card(name: str) -> Card:
    """Return the card of the network called ``name``; ``ValueError`` if there is none."""
    return replace(_module(name).CARD, trained=_weights.trained_arms(name))


def build(name: str, *, weights: str | Path | None = None, **options: Any) -> keras.Model:
    """Build the network called ``name`` and return it uncompiled.

    Every network takes ``input_shape``, without the batch axis, and ``classes``; the defaults are
    the document's. ``weights`` is the directory of a run, or a recorded arm as ``experiment/arm``,
    whose run is looked for in ``logs``; the network then has the run's options, but for those that
    are given. Raises ``ValueError`` for an unknown name, an option out of range, or weights that do
    not fit, ``TypeError`` for an option that the network does not have, and ``FileNotFoundError``
    for weights that are not there: the message says how to train them and the fingerprint they
    must have.
    """
    module = _module(name)
    if weights is None:
        return module.build(**options)
    directory = _weights.find(weights, name)
    model = module.build(**_weights.options(directory, name) | options)
    _weights.load(model, directory)
    return model


def _module(name: str) -> ModuleType:
    if name not in names():
        raise ValueError(f"unknown network {name!r}; available: {', '.join(names())}")
    return importlib.import_module(f"zoo.{name}")
