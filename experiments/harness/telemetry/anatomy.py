"""Where a functional model can be read, and what TensorBoard calls each place.

A layer with weights begins a group, which has its name; what follows it, up to the next one, is in
it: ``conv1/kernel``, ``conv1/pre_activation``, ``conv1/output``, ``conv1/pool1``. What comes
before the first is the ``batch``. TensorBoard sorts by name: where that is not the network's
order, the groups are numbered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

BATCH = "batch"
ACTIVATIONS = (keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU)
NORMALISATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
)
# What rearranges values shows nothing that the layer before does not.
SILENT = (keras.layers.InputLayer, keras.layers.Flatten, keras.layers.Reshape)


@dataclass(frozen=True)
class Anatomy:
    """The tags of a model.

    ``outputs`` maps a tag to the layer's output, a Keras tensor; ``variables`` a tag to the
    variable. ``fused`` maps the tag of what goes into a layer's own activation to the layer.
    ``rectified`` are tags of a ReLU's outputs; ``seen`` is the batch as the first layer with
    weights is given it, a Keras tensor; ``filters`` the tag of that layer's kernel; ``groups`` maps
    the names of layers to their group's.
    """

    outputs: Mapping[str, Any]
    variables: Mapping[str, Any]
    fused: Mapping[str, Any]
    rectified: frozenset[str]
    seen: Any
    filters: str | None
    groups: Mapping[str, str]


def anatomy(model: keras.Model) -> Anatomy:
    """Return where ``model`` can be read; ``ValueError`` where it is not a functional model."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError("telemetry reads functional (or built sequential) models")
    groups = _groups(model)
    titles = _titles([name for name in groups if name != BATCH]) | {BATCH: BATCH}
    outputs: dict[str, Any] = {}
    variables: dict[str, Any] = {}
    fused: dict[str, Any] = {}
    rectified = set()
    for name, layers in groups.items():
        active = next((layer for layer in layers if isinstance(layer, ACTIVATIONS)), None)
        for layer in layers:
            place = layer.name.removeprefix(f"{name}_")
            if layer is active:
                place = "output"
            elif layer.name == name:
                place = "pre_activation" if active else "output"
                if _activation(layer) and not active:
                    fused[f"{titles[name]}/pre_activation"] = layer
            tag = f"{titles[name]}/{place}"
            outputs[tag] = layer.output
            if _activation(layer) == "relu":
                rectified.add(tag)
            for variable in layer.weights:
                own = variable.path.removeprefix(f"{layer.name}/")
                inner = "" if layer.name == name else f"{place}/"
                variables[f"{titles[name]}/{inner}{own}"] = variable
    kernels = [tag for tag, variable in variables.items() if variable.name == "kernel"]
    return Anatomy(
        outputs=outputs,
        variables=variables,
        fused=fused,
        rectified=frozenset(rectified),
        seen=groups[BATCH][-1].output if groups.get(BATCH) else model.inputs[0],
        filters=kernels[0] if kernels else None,
        groups={layer.name: titles[name] for name in groups for layer in groups[name]},
    )


def _groups(model: keras.Model) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    name = BATCH
    for layer in model.layers:
        if isinstance(layer, SILENT):
            continue
        if layer.weights and not isinstance(layer, NORMALISATIONS):
            name = layer.name
        groups.setdefault(name, []).append(layer)
    return groups


def _titles(names: Sequence[str]) -> dict[str, str]:
    if sorted(names, key=_natural) == [*names]:
        return {name: name for name in names}
    digits = len(str(len(names)))
    return {name: f"{number:0{digits}}_{name}" for number, name in enumerate(names, 1)}


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts as TensorBoard does: runs of digits by their value."""
    parts = re.findall(r"\d+|\D", name)
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _activation(layer: Any) -> str | None:
    """Return the name of the activation that a layer applies, None of a layer that has none."""
    if isinstance(layer, keras.layers.ReLU):
        return "relu"
    if not isinstance(layer, keras.layers.Activation) and not hasattr(layer, "kernel"):
        return None
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", type(function).__name__)
    return None if name in ("linear", "NoneType") else name
