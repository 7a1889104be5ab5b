"""What a compiled model is, as JSON types: the part of a script's identity that Keras knows."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from experiments.harness.model import training_state
from experiments.harness.spec.identity import json_digest

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def describe(model: keras.Model) -> dict[str, Any]:
    """Return the model's class, size, hash of its layers, loss and optimisers.

    The hash covers each layer's class, plain settings, and variables. Code is not covered.
    """
    variables = training_state.variables(model)
    layers = [
        {"class": type(layer).__name__, "config": _config(layer), "trainable": layer.trainable}
        for layer in model._flatten_layers()
    ]
    own = {id(variable) for variable in model.variables}
    shapes = [[name, list(v.shape), v.dtype] for name, v in variables.items() if id(v) in own]
    return {
        "class": type(model).__name__,
        "parameters": int(model.count_params()) if model.built else None,
        "layers": json_digest([layers, shapes]),
        "loss": _plain(getattr(model, "loss", None)),
        "optimizers": {
            name: {"class": type(each).__name__, **_config(each)}
            for name, each in training_state.optimizers(model).items()
        },
    }


def command() -> str:
    """Return the command of this process: the script and its arguments."""
    return " ".join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])


def script_folder() -> Path:
    """Return the folder of the script that this process runs, else the current one."""
    path = Path(sys.argv[0])
    return path.resolve().parent if path.is_file() else Path.cwd()


def _config(thing: Any) -> dict[str, Any]:
    """Return the plain part of a Keras object's config; empty if it has none."""
    try:
        config = thing.get_config()
    except Exception:  # a user's class need not have one
        return {}
    nested = ("layers", "input_layers", "output_layers", "build_config")  # layers are listed anyway
    return {name: _plain(value) for name, value in config.items() if name not in nested}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get("class_name") == "__lambda__":
            return "lambda"
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, keras.losses.Loss):
        return {"class": type(value).__name__, **_config(value)}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    return ADDRESS.sub("", str(value))
