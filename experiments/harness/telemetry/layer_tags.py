"""TensorBoard tags for the layers and variables of a model.

A layer with weights begins a group of its name, which also holds the layers up to the next one:
``conv1/kernel``, ``conv1/pre_activation``, ``conv1/output``, ``conv1/pool1``. Layers before the
first group are in ``batch``. TensorBoard sorts groups by name; if that is not the network's order,
they are numbered. A subclassed model has no graph: its variables are tagged by layer, and it has
one output of its own, ``output``.
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
# Layers without tags: their outputs hold the values of the layer before.
SKIPPED = (keras.layers.InputLayer, keras.layers.Flatten, keras.layers.Reshape)


@dataclass(frozen=True)
class LayerTags:
    """The tags of a model.

    ``outputs`` maps tags to layers' outputs (Keras tensors), and ``variables`` maps tags to
    variables. ``fused_activations`` maps the tag of a pre-activation to the layer with weights that
    applies the activation itself. ``relu_outputs`` are the tags of ReLU outputs. ``first_input`` is
    the Keras tensor that the first layer with weights receives, and ``filters`` the tag of that
    layer's kernel. ``groups`` maps layer names to group names. Without a graph there are only
    ``variables``.
    """

    outputs: Mapping[str, Any]
    variables: Mapping[str, Any]
    fused_activations: Mapping[str, Any]
    relu_outputs: frozenset[str]
    first_input: Any
    filters: str | None
    groups: Mapping[str, str]


def layer_tags(model: keras.Model) -> LayerTags:
    """Return the tags of ``model``; those of its variables so far, if it has no graph."""
    if not has_graph(model):
        return _variables_by_layer(model)
    groups = _group_layers(model)
    group_names = _number_groups([name for name in groups if name != BATCH_TAG])
    group_names[BATCH_TAG] = BATCH_TAG
    outputs = {name: node.outputs[0] for name, node in graph_nodes(model).items()}
    tags: dict[Any, str] = {}
    variables: dict[str, Any] = {}
    for name, layers in groups.items():
        for layer, label in zip(layers, _layer_labels(name, layers), strict=True):
            tags[layer] = f"{group_names[name]}/{label}"
            prefix = group_names[name] if layer.name == name else tags[layer]
            variables |= {f"{prefix}/{_path_within(layer, v)}": v for v in layer.weights}
    kernels = [tag for tag, variable in variables.items() if variable.name == "kernel"]
    return LayerTags(
        outputs={tag: outputs[layer.name] for layer, tag in tags.items()},
        variables=variables,
        fused_activations={
            f"{tag.removesuffix('output')}pre_activation": layer
            for layer, tag in tags.items()
            if layer.weights and tag.endswith("/output") and _activation_name(layer)
        },
        relu_outputs=frozenset(
            tag for layer, tag in tags.items() if _activation_name(layer) == "relu"
        ),
        first_input=outputs[groups[BATCH_TAG][-1].name] if BATCH_TAG in groups else model.inputs[0],
        filters=kernels[0] if kernels else None,
        groups={layer.name: group_names[name] for name in groups for layer in groups[name]},
    )


def has_graph(model: keras.Model) -> bool:
    """Return whether a model is functional, or Sequential and built."""
    return bool(getattr(model, "inputs", None)) and hasattr(
        getattr(model, "_functional", model), "_nodes_by_depth"
    )


def _variables_by_layer(model: keras.Model) -> LayerTags:
    variables: dict[str, Any] = {}
    for layer in model.layers:
        variables |= {f"{layer.name}/{_path_within(layer, v)}": v for v in layer.weights}
    known = {id(variable) for variable in variables.values()}
    variables |= {v.path: v for v in model.weights if id(v) not in known}
    return LayerTags({}, variables, {}, frozenset(), None, None, {})


def graph_nodes(model: keras.Model) -> dict[str, Any]:
    """Return each layer's node in the graph, by the layer's name; a shared layer's first node.

    A layer's ``output`` would not do: a nested model's belongs to the nested model's own graph.
    """
    graph = getattr(model, "_functional", model)  # a Sequential model wraps a functional one
    nodes = [node for depth in graph._nodes_by_depth.values() for node in depth]
    return {node.operation.name: node for node in reversed(nodes)}


def _layer_labels(name: str, layers: Sequence[Any]) -> list[str]:
    """Return a label for each layer of group ``name``; its first activation is the output."""
    activation = next((layer for layer in layers if isinstance(layer, ACTIVATIONS)), None)
    first = "pre_activation" if activation else "output"
    return [
        "output" if layer is activation
        else first if layer.name == name
        else layer.name.removeprefix(f"{name}_")
        for layer in layers
    ]  # fmt: skip


def _path_within(layer: Any, variable: Any) -> str:
    """Return a variable's path below its layer; a Sequential model's name may precede both."""
    parts = variable.path.split("/")
    return "/".join(parts[parts.index(layer.name) + 1 :] if layer.name in parts else parts)


def _group_layers(model: keras.Model) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    name = BATCH_TAG
    for layer in model.layers:
        if isinstance(layer, SKIPPED):
            continue
        if layer.weights and not isinstance(layer, NORMALISATIONS):
            name = layer.name
        groups.setdefault(name, []).append(layer)
    return groups


def _number_groups(names: Sequence[str]) -> dict[str, str]:
    """Return the groups' names for TensorBoard, numbered unless they sort in the given order."""
    if sorted(names, key=_natural_sort_key) == [*names]:
        return {name: name for name in names}
    digits = len(str(len(names)))
    return {name: f"{number:0{digits}}_{name}" for number, name in enumerate(names, 1)}


def _natural_sort_key(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts as TensorBoard does: digits by their value."""
    parts = re.findall(r"\d+|\D", name)
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _activation_name(layer: Any) -> str | None:
    """Return the name of the activation that a layer applies, or None."""
    if isinstance(layer, keras.layers.ReLU):
        return "relu"
    if not isinstance(layer, keras.layers.Activation) and not hasattr(layer, "kernel"):
        return None
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", type(function).__name__)
    return None if name in ("linear", "NoneType") else name
