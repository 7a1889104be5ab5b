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

BATCH_TAG = "batch"
ACTIVATIONS = (keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU)
NORMALISATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
)
# What rearranges values shows nothing that the layer before does not.
SILENT = (keras.layers.InputLayer, keras.layers.Flatten, keras.layers.Reshape)


@dataclass(frozen=True)
class LayerTags:
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


def layer_tags(model: keras.Model) -> LayerTags:
    """Return where ``model`` can be read.

    Raises ``ValueError`` for a model that is not functional, or has several inputs or outputs.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError("telemetry reads functional (or built sequential) models")
    if len(model.inputs) > 1 or len(model.outputs) > 1:
        raise ValueError("telemetry reads models with one input and one output")
    groups, made = (
        _groups(model),
        {name: node.outputs[0] for name, node in graph_nodes(model).items()},
    )
    titles = _titles([name for name in groups if name != BATCH_TAG]) | {BATCH_TAG: BATCH_TAG}
    tags = {
        layer: f"{titles[name]}/{place}"
        for name, layers in groups.items()
        for layer, place in zip(layers, _places(name, layers), strict=True)
    }
    variables = {
        f"{titles[name] if layer.name == name else tags[layer]}/{_own(variable, layer)}": variable
        for name, layers in groups.items()
        for layer in layers
        for variable in layer.weights
    }
    kernels = [tag for tag, variable in variables.items() if variable.name == "kernel"]
    return LayerTags(
        outputs={tag: made[layer.name] for layer, tag in tags.items()},
        variables=variables,
        fused={
            f"{tag.removesuffix('output')}pre_activation": layer
            for layer, tag in tags.items()
            if layer.weights and tag.endswith("/output") and _activation(layer)
        },
        rectified=frozenset(tag for layer, tag in tags.items() if _activation(layer) == "relu"),
        seen=made[groups[BATCH_TAG][-1].name] if groups.get(BATCH_TAG) else model.inputs[0],
        filters=kernels[0] if kernels else None,
        groups={layer.name: titles[name] for name in groups for layer in groups[name]},
    )


def graph_nodes(model: keras.Model) -> dict[str, Any]:
    """Return by the names of layers where each stands in the graph, first of all if it is shared.

    A layer's own ``output`` would not do: a nested model's is that of its own graph.
    """
    graph = getattr(model, "_functional", model)  # of a sequential model
    found = [node for depth in graph._nodes_by_depth.values() for node in depth]
    return {node.operation.name: node for node in reversed(found)}


def _places(name: str, layers: Sequence[Any]) -> list[str]:
    """Return what each layer of a group is called: its output is that of the first activation."""
    active = next((layer for layer in layers if isinstance(layer, ACTIVATIONS)), None)
    first = "pre_activation" if active else "output"
    return [
        "output" if layer is active
        else first if layer.name == name
        else layer.name.removeprefix(f"{name}_")
        for layer in layers
    ]  # fmt: skip


def _own(variable: Any, layer: Any) -> str:
    """Return a variable's path within its layer; a sequential model's name may come before it."""
    parts = variable.path.split("/")
    return "/".join(parts[parts.index(layer.name) + 1 :] if layer.name in parts else parts)


def _groups(model: keras.Model) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    name = BATCH_TAG
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
