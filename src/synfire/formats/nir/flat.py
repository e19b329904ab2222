"""A NIR graph without its subgraphs: nodes, edges, named inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.formats.nir.hdf5 import Edge, Node, Sheet


@dataclass(frozen=True)
class Flat:
    """Nodes by name (`sub.node` from within subgraphs), edges among them, and the top graph's Input and Output nodes.

    Edges start at a node or input and end at a node or output.
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    inputs: Mapping[str, Node]
    outputs: Mapping[str, Node]

    def into(self, name: str) -> tuple[str, ...]:
        """Where the edges that end at `name` start, in the file's order."""
        return tuple(source for source, target in self.edges if target == name)


def flatten_sheet(sheet: Sheet) -> Flat:
    """Take subgraphs apart. Raises `UserError` for dangling or doubled edges and for missing inputs or outputs."""
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    _collect(sheet, "", nodes, edges)
    top = {name for name, node in sheet.nodes.items() if isinstance(node, Node)}
    inputs = {name: node for name, node in nodes.items() if node.type == "Input" and name in top}
    outputs = {name: node for name, node in nodes.items() if node.type == "Output" and name in top}
    if not inputs or not outputs:
        missing = "Input" if not inputs else "Output"
        raise UserError(f"the NIR graph has no {missing} node, so nothing can be sent to it or read; add one")
    passing = {name for name, node in nodes.items() if node.type in ("Input", "Output") and name not in top}
    joined = _pass_through(edges, passing)
    return Flat(
        {name: node for name, node in nodes.items() if node.type not in ("Input", "Output")},
        tuple(joined),
        inputs,
        outputs,
    )


def _collect(sheet: Sheet, prefix: str, nodes: dict[str, Node], edges: list[Edge]) -> None:
    for name, node in sheet.nodes.items():
        if isinstance(node, Sheet):
            _collect(node, f"{prefix}{name}.", nodes, edges)
        elif nodes.setdefault(prefix + name, node) is not node:
            raise UserError(f"two NIR nodes are called {prefix + name!r}; rename one of them")
    seen: set[Edge] = set()
    for edge in sheet.edges:
        _check_edge(sheet, edge, prefix, seen)
        seen.add(edge)
        source, target = (sheet.nodes[end] for end in edge)
        start = prefix + edge[0] if isinstance(source, Node) else _port(source, prefix + edge[0], "Output")
        end = prefix + edge[1] if isinstance(target, Node) else _port(target, prefix + edge[1], "Input")
        edges.append((start, end))


def _check_edge(sheet: Sheet, edge: Edge, prefix: str, seen: set[Edge]) -> None:
    arrow = " → ".join(prefix + end for end in edge)
    for end in edge:
        if end not in sheet.nodes:
            raise UserError(f"the NIR edge {arrow} dangles: there is no node {prefix + end!r}; remove or rename it")
    if edge in seen:
        raise UserError(f"the NIR edge {arrow} is there twice; remove one")
    source, target = (sheet.nodes[end] for end in edge)
    if isinstance(source, Node) and source.type == "Output":
        raise UserError(f"the NIR edge {arrow} starts at an Output node; turn it round or remove it")
    if isinstance(target, Node) and target.type == "Input":
        raise UserError(f"the NIR edge {arrow} ends at an Input node; turn it round or remove it")


def _port(sheet: Sheet, name: str, kind: str) -> str:
    found = [inner for inner, node in sheet.nodes.items() if isinstance(node, Node) and node.type == kind]
    if len(found) != 1:
        raise UserError(
            f"the NIR subgraph {name!r} has {len(found)} {kind} nodes {found}, so an edge to it is ambiguous; give it "
            "exactly one"
        )
    return f"{name}.{found[0]}"


def _pass_through(edges: list[Edge], passing: set[str]) -> list[Edge]:
    """Edges with the subgraphs' own Input and Output nodes short-circuited."""

    def ends(name: str, trail: tuple[str, ...] = ()) -> list[str]:
        if name not in passing:
            return [name]
        if name in trail:
            raise UserError(f"the NIR subgraph ports {' → '.join([*trail, name])} feed each other; break that cycle")
        return [end for source, target in edges if source == name for end in ends(target, (*trail, name))]

    return [(source, end) for source, target in edges if source not in passing for end in ends(target)]


def shape_of(node: Node) -> tuple[int, ...] | None:
    """What an Input or Output node says of its shape, if it does."""
    if "shape" not in node.fields:
        return None
    shape = node.array("shape").ravel()
    if np.any(shape < 1) or np.any(shape != np.trunc(shape)):
        raise node.error(f"the shape {shape.tolist()} is not one of whole numbers above 0; export the model again")
    return tuple(int(size) for size in shape)
