"""A node's surroundings in a graph: what a model that aggregates over neighbours is sent."""

from __future__ import annotations

import numpy as np

from synfire.base.errors import UserError
from synfire.ops import Array


def neighbourhood(features: Array, edges: Array, node: int, hops: int = 2) -> dict[str, Array]:
    """What a NeighbourhoodAggregation of so many `hops` takes for `node` of a graph.

    `features` are `(node, feature)`; `edges` `(2, n)`, undirected, each once. Returned are `features` `(rows, feature)`, the
    node's row first and those around it in the order of the graph; `edges` `(m, 2)` among them, in the order of the graph's;
    and `degrees` `(rows,)`, how many neighbours each has in the whole graph. Raises `UserError` for a node that is none.
    """
    if not 0 <= node < len(features):
        raise UserError(f"there is no node {node}; the graph's go from 0 to {len(features) - 1}")
    near = np.zeros(len(features), bool)
    near[node] = True
    for _ in range(hops):
        near[edges[:, near[edges].any(axis=0)]] = True
    around = np.flatnonzero(near)
    nodes = np.concatenate([[node], around[around != node]])
    row = np.empty(len(features), np.int64)
    row[nodes] = np.arange(len(nodes))
    inner = edges[:, near[edges].all(axis=0)]
    degrees = np.bincount(edges.ravel(), minlength=len(features))[nodes]
    return {"features": features[nodes], "edges": row[inner].T, "degrees": degrees.astype(np.int64)}
