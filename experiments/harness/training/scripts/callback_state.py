"""The states of the other callbacks of a ``fit``, saved and restored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras

from experiments.harness.model.variables import to_numpy
from experiments.harness.spec import identity
from experiments.harness.storage import nested

# What Keras's own callbacks remember from epoch to epoch.
ATTRIBUTES: dict[type[Any], tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_weights", "best_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("best", "cooldown_counter", "wait"),
    keras.callbacks.ModelCheckpoint: (
        "best",
        "_batches_seen_since_last_saving",
        "_last_batch_seen",
    ),
    keras.callbacks.SwapEMAWeights: ("_ema_weights_in_model",),
    keras.callbacks.History: ("epoch", "history"),
}
BASE = {"params", "_model", "validation_data"}  # attributes of every callback

Callbacks = Iterable[keras.callbacks.Callback]


def read(callbacks: Callbacks) -> tuple[dict[str, Any], list[str]]:
    """Return the states by callback, and a line for each state that cannot be saved.

    The state of a user's own callback is what its ``get_state()`` returns: numbers, strings, None,
    arrays, and lists, tuples and dicts of these.
    """
    states: dict[str, Any] = {}
    unsaved = []
    for name, callback in _named(callbacks).items():
        try:
            if (state := _state(callback)) is not None:
                nested.split(state, [])
                states[name] = state
            elif line := _forgotten(callback):
                unsaved.append(f"{name}: {line}")
        except TypeError as error:
            unsaved.append(f"{name}: its state cannot be saved ({error})")
    return states, unsaved


def write(callbacks: Callbacks, states: Mapping[str, Any]) -> list[str]:
    """Restore what ``read`` returned; return the names of callbacks that only one side has."""
    named = {n: c for n, c in _named(callbacks).items() if n in states or _state(c) is not None}
    for name in named.keys() & states.keys():
        _set_state(named[name], states[name])
    return sorted(named.keys() ^ states.keys())


def keep_rows(callbacks: Callbacks, states: Mapping[str, Any]) -> None:
    """Make each ``CSVLogger`` continue its file after the rows that belong to ``states``.

    Call it before its ``on_train_begin``.
    """
    for name, callback in _named(callbacks).items():
        path = Path(getattr(callback, "filename", ""))
        if isinstance(callback, keras.callbacks.CSVLogger) and name in states and path.is_file():
            with path.open("r+b") as file:
                file.truncate(min(states[name]["bytes"], path.stat().st_size))
            callback.append = True


def _named(callbacks: Callbacks) -> dict[str, keras.callbacks.Callback]:
    """Return the callbacks by class name, numbered if there are several: ``EarlyStopping#2``."""
    found = list(callbacks)
    names = identity.numbered(type(each).__name__ for each in found)
    return dict(zip(names, found, strict=True))


def _state(callback: keras.callbacks.Callback) -> Any:
    if callable(getattr(callback, "get_state", None)):
        return callback.get_state()
    if isinstance(callback, keras.callbacks.CSVLogger):
        path = Path(callback.filename)
        return {"bytes": path.stat().st_size if path.is_file() else 0}
    for kind, names in ATTRIBUTES.items():
        if isinstance(callback, kind):
            return {name: _plain(getattr(callback, name, None)) for name in names}
    return None


def _set_state(callback: keras.callbacks.Callback, state: Any) -> None:
    if callable(getattr(callback, "set_state", None)):
        callback.set_state(state)
    elif not isinstance(callback, keras.callbacks.CSVLogger):
        for name, value in state.items():
            setattr(callback, name, value)


def _plain(value: Any) -> Any:
    """Return nested values with tensors as arrays."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return to_numpy(value) if keras.ops.is_tensor(value) else value


def _forgotten(callback: keras.callbacks.Callback) -> str:
    """Return why a callback without a known state may not resume exactly; '' if it has none."""
    if callable(getattr(callback, "get_state", None)):
        return ""
    module = type(callback).__module__
    if isinstance(callback, keras.callbacks.LambdaCallback):
        functions = [value for value in vars(callback).values() if callable(value)]
        captured = any(getattr(function, "__closure__", None) for function in functions)
        return "what its functions remember is not saved" if captured else ""
    if module.startswith(("keras.", "experiments.")) or not set(vars(callback)) - BASE:
        return ""
    return "what it remembers is not saved; give it get_state() and set_state(state)"
