"""ONNX models of a few nodes, written with the package `onnx`: food for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from synfire.ops import Array


class Node(NamedTuple):
    """An operator of the model, with the names of its tensors, separated by spaces."""

    kind: str
    takes: str
    gives: str
    attributes: Mapping[str, Any] = {}
    domain: str = ""


Shaped = Mapping[str, tuple[str, Sequence[int | str]]]
"""Tensors by name: the type as ONNX calls it, and the shape, with names for axes that are open."""


def write_onnx(
    path: Path,
    nodes: Sequence[Node],
    inputs: Shaped,
    outputs: Shaped,
    weights: Mapping[str, Array] | None = None,
    opset: int = 18,
) -> Path:
    """Write the model; give back the path."""
    from onnx import TensorProto, helper, numpy_helper

    made = [
        helper.make_node(each.kind, each.takes.split(), each.gives.split(), domain=each.domain, **each.attributes)
        for each in nodes
    ]
    takes, gives = (
        [helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape) for name, (kind, shape) in each.items()]
        for each in (inputs, outputs)
    )
    kept = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(made, "tiny", takes, gives, initializer=kept)
    domains = {each.domain: 1 for each in nodes} | {"": opset}
    opsets = [helper.make_opsetid(*each) for each in domains.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="synfire")
    path.write_bytes(model.SerializeToString())
    return path
