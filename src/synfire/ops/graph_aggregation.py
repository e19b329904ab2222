"""Feature propagation over a stored graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal, require_shape


@operator
@dataclass(frozen=True, eq=False)
class GraphAggregation(Stateless):
    """H = (D̃^−½ Ã D̃^−½)^hops X with Ã = A + I and D̃ its degrees, clipped to [0, 1] when `clip`: SGC's smoothing.

    X is `(node, feature)`. The neighbours of node i are `indices[indptr[i] : indptr[i + 1]]`, without i itself; `indptr`
    is `(node + 1,)`, both int64. Computed in float64 and rounded once: rows are scaled by D̃^−½, a node's own row is taken
    first, its neighbours are added in stored order, and the sum is scaled by D̃^−½. Source: doi:10.48550/arXiv.1902.07153.
    """

    indptr: Array
    indices: Array
    hops: int = 1
    clip: bool = False

    def check(self) -> None:
        entries = self.indices.size
        if self.indptr.ndim != 1 or self.indices.ndim != 1 or not self.indptr.size:
            raise UserError("GraphAggregation needs indptr (node + 1,) and indices (entries,)")
        if self.indptr[0] != 0 or self.indptr[-1] != entries or np.any(np.diff(self.indptr) < 0):
            raise UserError(f"GraphAggregation.indptr must ascend from 0 to the number of entries, {entries}")
        if entries and not 0 <= self.indices.min() <= self.indices.max() < self.nodes:
            raise UserError(f"GraphAggregation.indices must name nodes from 0 to {self.nodes - 1}")
        if self.hops < 0:
            raise UserError(f"GraphAggregation.hops is {self.hops}; it must be ≥ 0")

    @classmethod
    def from_edges(cls, edges: Array, nodes: int, hops: int = 1, clip: bool = False) -> GraphAggregation:
        """From undirected edges `(2, n)`, each given once: a node's neighbours stand in the order of the edges that name it
        first, then of those that name it second."""
        indptr, indices = adjacency(np.concatenate([edges, edges[::-1]], axis=1), nodes)
        return cls(indptr, indices, hops, clip)

    @property
    def nodes(self) -> int:
        return self.indptr.size - 1

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_shape("GraphAggregation", x, 2)
        require_kind("GraphAggregation", x, Kind.VALUE, Kind.SPIKE, Kind.COUNT)
        if x.shape[0] != self.nodes:
            raise UserError(f"GraphAggregation has {self.nodes} nodes, got {x}; the input is (node, feature)")
        return x.with_(kind=Kind.VALUE, clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        return np.stack([self._propagate(x.astype(np.float64)).astype(np.float32) for x in inputs[0]])

    def _propagate(self, h: Array) -> Array:
        scale = (1.0 / np.sqrt(1.0 + np.diff(self.indptr)))[:, None]
        for _ in range(self.hops):
            h = joined(h * scale, self.indptr, self.indices) * scale
        return np.clip(h, 0.0, 1.0) if self.clip else h


def adjacency(links: Array, nodes: int) -> tuple[Array, Array]:
    """`(indptr, indices)` of links `(2, n)` from a node to its neighbour; a node's neighbours keep the order of the links."""
    counts = np.bincount(links[0], minlength=nodes)
    order = np.argsort(links[0], kind="stable")
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), links[1][order]


def joined(rows: Array, indptr: Array, indices: Array) -> Array:
    """Each node's own row plus its neighbours', rank by rank, so that every node adds in its stored order."""
    degrees, total = np.diff(indptr), rows.copy()
    for rank in range(int(degrees.max(initial=0))):
        nodes = np.nonzero(degrees > rank)[0]
        total[nodes] += rows[indices[indptr[nodes] + rank]]
    return total
