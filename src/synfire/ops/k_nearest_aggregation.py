"""A new node joins a stored graph by its nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.exact_decimal import exact
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal, require_shape


@operator
@dataclass(frozen=True, eq=False)
class KNearestAggregation(Stateless):
    """Y = x_q / d_q + Σ_{j ∈ N(q)} x_j / √(d_q d_j): the row of D̃^−½ Ã D̃^−½ X that the query would have as a new node.

    `reference` is `(n, feature)` whole numbers (int64), x = row · `scale`; `degrees` `(n,)` are the stored nodes' own, self
    loop included; d_q = k + 1. A query of values is read as ⌊X / scale⌉, one of counts or indices as it is. N(q) are the k
    reference rows of smallest squared Euclidean distance, which is exact; of equals, the lower index. Computed in float64,
    the query first and then the neighbours, nearest first; rounded once.
    """

    reference: Array
    degrees: Array
    k: int
    scale: float = 1.0

    def check(self) -> None:
        if (
            self.reference.ndim != 2
            or self.reference.dtype != np.int64
            or self.degrees.shape != self.reference.shape[:1]
        ):
            raise UserError(
                f"KNearestAggregation needs reference (n, feature) and degrees (n,) of whole numbers, got "
                f"{self.reference.dtype} {self.reference.shape} and {self.degrees.shape}; divide the rows by their scale"
            )
        if not 1 <= self.k <= len(self.reference):
            raise UserError(f"KNearestAggregation.k is {self.k}; choose 1 to {len(self.reference)}, the stored rows")
        if self.degrees.dtype != np.int64 or self.degrees.min() < 1 or not self.scale > 0:
            raise UserError("KNearestAggregation needs degrees ≥ 1 (the self loop counts) and a positive scale")

    def infer(self, *inputs: Signal) -> Signal:
        (x,) = inputs
        require_shape("KNearestAggregation", x, 1)
        require_kind("KNearestAggregation", x, Kind.VALUE, Kind.COUNT, Kind.INDEX)
        if x.shape[0] != self.reference.shape[1]:
            raise UserError(
                f"KNearestAggregation compares {self.reference.shape[1]} features, got {x}; insert a Flatten"
            )
        return x.with_(kind=Kind.VALUE, clock=stepwise(x))

    def apply(self, *inputs: Array) -> Array:
        scale, own = exact(self.scale), self.k + 1
        query = self._whole(inputs[0], scale)
        neighbours = self.nearest(query)
        total = query * scale / own
        for rank in range(self.k):
            rows = neighbours[:, rank]
            weight = np.sqrt(own * self.degrees[rows].astype(np.float64))
            total = total + (self.reference[rows] * scale) / weight[:, None]
        return total.astype(np.float32)

    def nearest(self, query: Array) -> Array:
        """Indices `(batch, k)` of each query's nearest reference rows, nearest first."""
        squared = (self.reference**2).sum(1)[None, :] - 2 * query @ self.reference.T
        return np.argsort(squared, axis=1, kind="stable")[:, : self.k]

    def _whole(self, query: Array, scale: float) -> Array:
        if query.dtype.kind in "iu":
            return query.astype(np.int64, copy=False)
        whole = np.rint(query / scale)
        # Beyond 2²⁰ the squared distances could leave int64, and no pixel or count is that large.
        if not (np.abs(whole) <= 2**20).all():
            raise UserError(
                f"KNearestAggregation got a value beyond ±{2**20} units of {scale}; send inputs on that scale"
            )
        return whole.astype(np.int64)
