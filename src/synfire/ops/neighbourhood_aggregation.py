"""Feature propagation to one node of a graph that the request brings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.axes import require_request
from synfire.ops.graph_aggregation import adjacency, joined
from synfire.ops.operator import Stateless, operator, require_kind
from synfire.ops.signal import Array, Kind, Signal, require_shape


@operator
@dataclass(frozen=True, eq=False)
class NeighbourhoodAggregation(Stateless):
    """Y = row 0 of (D̃^−½ Ã D̃^−½)^hops X, clipped to [0, 1] when `clip`: SGC's smoothing of one node of the caller's graph.

    Ports: 0, X `(−1, feature)`, the node asked for in row 0 and all within `hops` of it in any order; 1, the edges among
    these rows `(−1, 2)`, undirected, each once, without self loops; 2, `(−1,)`, how many neighbours each row has in the
    whole graph, of which only those `hops` away may have some outside. Ã = A + I; D̃ are those degrees + 1.

    Computed as GraphAggregation is: in float64, own row first, then the neighbours by the edges that name it first, then by
    those that name it second, in their order; rounded once. Edges in the whole graph's order thus give the whole graph's
    bits, and another order may move the last one. Raises `UserError` at a step for parts that do not fit together.
    Source: doi:10.48550/arXiv.1902.07153.
    """

    inputs: ClassVar[int | None] = 3

    hops: int = 1
    clip: bool = False

    def check(self) -> None:
        if self.hops < 0:
            raise UserError(f"NeighbourhoodAggregation.hops is {self.hops}; it must be ≥ 0")

    def infer(self, *inputs: Signal) -> Signal:
        x, edges, degrees = inputs
        for signal, ndim in zip(inputs, (2, 2, 1), strict=True):
            require_request("NeighbourhoodAggregation", signal)
            require_shape("NeighbourhoodAggregation", signal, ndim)
        require_kind("NeighbourhoodAggregation, at port 0,", x, Kind.VALUE, Kind.SPIKE, Kind.COUNT)
        require_kind("NeighbourhoodAggregation, at port 1,", edges, Kind.INDEX)
        require_kind("NeighbourhoodAggregation, at port 2,", degrees, Kind.INDEX)
        if edges.shape[1] != 2 or x.shape[1] < 1:
            raise UserError(
                f"NeighbourhoodAggregation takes rows of one width and edges (−1, 2), got {x} and {edges}; check its ports"
            )
        return x.with_(shape=x.shape[1:], kind=Kind.VALUE)

    def apply(self, *inputs: Array) -> Array:
        return np.stack([self.aggregate(*sample) for sample in zip(*inputs, strict=True)])

    def aggregate(self, x: Array, edges: Array, degrees: Array) -> Array:
        """Row 0's aggregated features `(feature,)` for rows `(n, feature)`, edges `(m, 2)` and degrees `(n,)`."""
        _require_arrays(x, edges, degrees)
        _require_edges(edges, len(x))
        distance = self._distances(edges, len(x))
        self._require_degrees(edges, degrees, distance)
        links = np.concatenate([edges.T, edges.T[::-1]], axis=1)
        scale = (1.0 / np.sqrt(1.0 + degrees))[:, None]
        h = x.astype(np.float64)
        for left in reversed(range(self.hops)):
            needed = links[:, distance[links[0]] <= left]
            h = joined(h * scale, *adjacency(needed, len(x))) * scale
        return (np.clip(h[0], 0.0, 1.0) if self.clip else h[0]).astype(np.float32)

    def _distances(self, edges: Array, rows: int) -> Array:
        """How many hops each row is from row 0; `hops` for those further away, too."""
        distance = np.full(rows, self.hops)
        distance[0] = 0
        for hop in range(1, self.hops):
            found = edges[(distance[edges] < hop).any(axis=1)]
            distance[found] = np.minimum(distance[found], hop)
        return distance

    def _require_degrees(self, edges: Array, degrees: Array, distance: Array) -> None:
        named = np.bincount(edges.ravel(), minlength=len(degrees))
        if (named > degrees).any():
            row = int(np.argmax(named > degrees))
            raise UserError(
                f"row {row} has degree {degrees[row]}, but {named[row]} edges name it; a degree counts all of a row's "
                "neighbours in the whole graph"
            )
        missing = (named < degrees) & (distance < self.hops)
        if missing.any():
            row = int(np.argmax(missing))
            raise UserError(
                f"row {row}, {distance[row]} hops from row 0, has degree {degrees[row]}, but {named[row]} edges name it; "
                f"send every node within {self.hops} hops of row 0, and all edges among them"
            )


def _require_arrays(x: Array, edges: Array, degrees: Array) -> None:
    if x.ndim != 2 or not x.size:
        raise UserError(f"the neighbourhood's rows are {x.shape}; send (n, feature), the node asked for as row 0")
    if not np.isfinite(x).all():
        row = int(np.argmin(np.isfinite(x).all(axis=1)))
        raise UserError(f"row {row} of the neighbourhood holds NaN or infinity; send finite features")
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
        raise UserError(f"the neighbourhood's edges are {edges.dtype} {edges.shape}; send pairs of row numbers, (m, 2)")
    if degrees.shape != (len(x),) or degrees.dtype.kind not in "iu":
        raise UserError(
            f"the degrees are {degrees.dtype} {degrees.shape}; send one whole number for each of {len(x)} rows"
        )


def _require_edges(edges: Array, rows: int) -> None:
    outside: Array = np.any((edges < 0) | (edges >= rows), axis=1)
    _refuse(edges, outside, f"the rows go from 0 to {rows - 1}")
    _refuse(edges, edges[:, 0] == edges[:, 1], "leave self loops out, they are added here")
    keys = edges.min(axis=1) * rows + edges.max(axis=1)
    again = np.ones(len(edges), bool)
    again[np.unique(keys, return_index=True)[1]] = False
    _refuse(edges, again, "it was there before; send each edge once, in one direction")


def _refuse(edges: Array, wrong: Array, why: str) -> None:
    if wrong.any():
        number = int(np.argmax(wrong))
        raise UserError(f"edge {number} of the neighbourhood joins rows {edges[number].tolist()}; {why}")
