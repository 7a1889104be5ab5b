"""A functional model as a TensorBoard graph: one node per layer, in groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from tensorboardX.proto.attr_value_pb2 import AttrValue
from tensorboardX.proto.graph_pb2 import GraphDef
from tensorboardX.proto.node_def_pb2 import NodeDef

from experiments.harness.telemetry.layer_tags import graph_nodes


def graph_def(model: keras.Model, groups: Mapping[str, str]) -> bytes:
    """Return the serialised ``GraphDef``: layers by name, with class, output shape and weights.

    ``groups`` maps layer names to group names.
    """

    def path(name: str) -> str:
        return f"{groups[name]}/{name}" if name in groups else name

    nodes = [
        NodeDef(
            name=path(name),
            op=type(node.operation).__name__,
            input=[path(tensor._keras_history.operation.name) for tensor in node.input_tensors],
            attr=_attributes(node),
        )
        for name, node in graph_nodes(model).items()
    ]
    return GraphDef(node=nodes).SerializeToString()


def _attributes(node: Any) -> dict[str, AttrValue]:
    shapes = {v.name: tuple(v.shape) for v in getattr(node.operation, "weights", ())}
    shapes["output"] = tuple(node.outputs[0].shape)
    return {name: AttrValue(s=str(shape).encode()) for name, shape in shapes.items()}
