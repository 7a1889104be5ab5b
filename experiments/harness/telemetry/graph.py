"""A functional model as TensorBoard's graph: a node a layer, in groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from tensorboardX.proto.attr_value_pb2 import AttrValue
from tensorboardX.proto.graph_pb2 import GraphDef
from tensorboardX.proto.node_def_pb2 import NodeDef


def graph(model: keras.Model, groups: Mapping[str, str]) -> bytes:
    """Return the serialised ``GraphDef``: layers by name, with class, output shape and weights.

    ``groups`` maps the names of layers to the group that they are shown in.
    """

    def path(name: str) -> str:
        return f"{groups[name]}/{name}" if name in groups else name

    nodes = [
        NodeDef(
            name=path(layer.name),
            op=type(layer).__name__,
            input=[path(tensor._keras_history.operation.name) for tensor in _inputs(layer)],
            attr=_attributes(layer),
        )
        for layer in model.layers
    ]
    return GraphDef(node=nodes).SerializeToString()


def _inputs(layer: Any) -> list[Any]:
    return [] if isinstance(layer, keras.layers.InputLayer) else keras.tree.flatten(layer.input)


def _attributes(layer: Any) -> dict[str, AttrValue]:
    shapes = {v.name: tuple(v.shape) for v in layer.weights}
    shapes["output"] = tuple(getattr(layer.output, "shape", ()))
    return {name: AttrValue(s=str(shape).encode()) for name, shape in shapes.items()}
