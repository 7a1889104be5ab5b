"""The states of Python's and NumPy's global generators, saved and restored."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np


def host_state() -> dict[str, Any]:
    """Return the states of ``random`` and ``numpy.random``, in plain types and arrays."""
    return {"python": random.getstate(), "numpy": np.random.get_state(legacy=False)}


def restore_host_state(state: Mapping[str, Any]) -> None:
    """Restore what ``host_state`` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
