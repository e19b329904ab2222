"""Spiking self-attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synfire.base.errors import UserError
from synfire.ops.operator import Stateless, operator, require_kind, stepwise
from synfire.ops.signal import Array, Kind, Signal, require_shape

TOKENS_FIRST, CHANNELS_FIRST = "tokens_first", "channels_first"


@operator
@dataclass(frozen=True, eq=False)
class SelfAttention(Stateless):
    """Y_h = (Q_h K_hᵀ) V_h · scale for each head h, without softmax: Spikformer's SSA (doi:10.48550/arXiv.2209.15425).

    Q, K, V arrive at ports 0, 1, 2 as spikes or counts, each `(token, channel)`, or `(channel, token)` when `layout` is
    `channels_first`; so does Y leave. Head h owns the channels h·d … h·d + d − 1 with d = channels / heads. The products
    are whole numbers, so Q(KᵀV) gives the same bits and is cheaper when there are more tokens than channels of a head;
    the one rounding is the last, of the multiplication by `scale`.
    """

    heads: int = 1
    scale: float = 0.125
    layout: str = TOKENS_FIRST

    inputs: ClassVar[int | None] = 3

    def check(self) -> None:
        if self.layout not in (TOKENS_FIRST, CHANNELS_FIRST):
            raise UserError(f"SelfAttention.layout is {self.layout!r}; choose 'tokens_first' or 'channels_first'")
        if self.heads < 1:
            raise UserError(f"SelfAttention.heads is {self.heads}; it must be ≥ 1")

    def infer(self, *inputs: Signal) -> Signal:
        q = inputs[0]
        for each in inputs:
            require_kind("SelfAttention", each, Kind.SPIKE, Kind.COUNT)
            require_shape("SelfAttention", each, 2)
            if each.shape != q.shape:
                raise UserError(
                    f"SelfAttention's Q is {q}, but {each} arrives beside it; the three must have one shape"
                )
        channels = q.shape[0 if self.layout == CHANNELS_FIRST else 1]
        if channels % self.heads:
            raise UserError(f"SelfAttention shares {channels} channels among {self.heads} heads; they do not divide")
        return q.with_(kind=Kind.VALUE, clock=stepwise(*inputs))

    def apply(self, *inputs: Array) -> Array:
        return self.attend(*(each.astype(np.int64) for each in inputs))

    def attend(self, *inputs: Array) -> Array:
        """The output in whatever dtype holds the whole-numbered products exactly: an engine may choose a fast one."""
        q, k, v = (self._by_head(each) for each in inputs)
        tokens, channels = q.shape[-2:]
        product = q @ (k.swapaxes(-1, -2) @ v) if tokens > channels else (q @ k.swapaxes(-1, -2)) @ v
        return self._joined(product).astype(np.float32) * np.float32(self.scale)

    def _by_head(self, x: Array) -> Array:
        """`(batch, head, token, channel of the head)`."""
        if self.layout == CHANNELS_FIRST:
            x = x.swapaxes(1, 2)
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)

    def _joined(self, heads: Array) -> Array:
        joined = heads.swapaxes(1, 2).reshape(heads.shape[0], heads.shape[2], -1)
        return joined.swapaxes(1, 2) if self.layout == CHANNELS_FIRST else joined
