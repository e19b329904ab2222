"""Pooling, means over space and tokens, and aggregation over a stored graph."""

from __future__ import annotations

import numpy as np
import torch

from synfire.engines.cuda.kernels.launching import block, blocks, launch
from synfire.engines.cuda.kernels.windows import along, joined, window
from synfire.engines.cuda.step import StatelessStep, as_summand, step_for
from synfire.ops.adaptive_avg_pool2d import AdaptiveAvgPool2d, regions
from synfire.ops.avg_pool1d import AvgPool1d
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.axes import batch_axis
from synfire.ops.global_avg_pool import GlobalAvgPool
from synfire.ops.graph_aggregation import GraphAggregation
from synfire.ops.max_pool1d import MaxPool1d
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.pooling import Pool, Window, window_counts
from synfire.ops.sum_pool2d import SumPool2d
from synfire.ops.token_mean import TokenMean
from synfire.ops.token_sum import TokenSum

BLOCK = 128


@step_for(MaxPool1d, MaxPool2d, AvgPool1d, AvgPool2d, SumPool2d)
class PoolStep(StatelessStep):
    """Sequences are images of one row."""

    def prepare(self) -> None:
        assert isinstance(self.operator, Pool)
        operator, sizes = self.operator, self.inputs[0].shape[1:]
        average = isinstance(operator, (AvgPool1d, AvgPool2d))
        self._reduce = "mean" if average else "sum" if isinstance(operator, SumPool2d) else "max"
        counts = np.ones((), np.float32)
        if isinstance(operator, (AvgPool1d, AvgPool2d)):
            divisor = operator.divisor if isinstance(operator, AvgPool2d) else 0
            counts = window_counts(operator, sizes, operator.count_include_pad, divisor)
        self._counts = self.here.hold(np.broadcast_to(counts, self.output.shape[1:]).astype(np.float32))
        windows = (Window(1, 1, 0, 0),) * (2 - len(sizes)) + operator.windows()
        self._plane = (1,) * (2 - len(sizes)) + sizes
        self._out = (1,) * (2 - len(sizes)) + self.output.shape[1:]
        self._geometry = [
            getattr(each, name) for name in ("kernel", "stride", "before", "dilation") for each in windows
        ]

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        x = as_summand(inputs[0]).contiguous() if self._reduce != "max" else inputs[0].contiguous()
        dtype = torch.float32 if self._reduce == "mean" else x.dtype
        out = torch.empty((len(x), *self.output.shape), dtype=dtype, device=x.device)
        if out.numel():
            launch(
                window, (blocks(out.numel(), BLOCK),), x, self._counts, out, out.numel(), *self._plane, *self._out,
                *self._geometry, REDUCE=self._reduce, WHOLE=not x.is_floating_point(), BLOCK=BLOCK,
            )  # fmt: skip
        return out


def reduced(x: torch.Tensor, axis: int, divisor: int = 0) -> torch.Tensor:
    """The sum along `axis`, in ascending index, or the mean by `divisor`; the axis goes."""
    x = as_summand(x).contiguous()
    shape, length = (*x.shape[:axis], *x.shape[axis + 1 :]), x.shape[axis]
    out = torch.empty(shape, dtype=torch.float32 if divisor else x.dtype, device=x.device)
    if out.numel():
        launch(
            along, (blocks(out.numel(), BLOCK),), x, out, out.numel(), length, x.shape[axis + 1 :].numel(), float(divisor),
            REDUCE="mean" if divisor else "sum", BLOCK=BLOCK,
        )  # fmt: skip
    return out


@step_for(GlobalAvgPool)
class GlobalAvgPoolStep(StatelessStep):
    """Places in ascending index, one division."""

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        flat = inputs[0].reshape(*inputs[0].shape[:2], -1)
        return reduced(flat, 2, flat.shape[2]).reshape(len(flat), *self.output.shape)


@step_for(TokenMean, TokenSum)
class TokenStep(StatelessStep):
    """Tokens in ascending index."""

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.operator, (TokenMean, TokenSum))
        axis = batch_axis(self.operator.axis) % inputs[0].ndim
        divisor = inputs[0].shape[axis] if isinstance(self.operator, TokenMean) else 0
        return reduced(inputs[0], axis, divisor).reshape(len(inputs[0]), *self.output.shape)


@step_for(AdaptiveAvgPool2d)
class AdaptiveAvgPoolStep(StatelessStep):
    """Region by region, which are few."""

    def prepare(self) -> None:
        assert isinstance(self.operator, AdaptiveAvgPool2d)
        height, width = self.inputs[0].shape[1:]
        self._rows, self._columns = regions(height, self.operator.size[0]), regions(width, self.operator.size[1])
        sides = {each.stop - each.start for each in (*self._rows, *self._columns)}
        self._sides = {side: self.here.hold(np.full(1, side, np.float32)) for side in sides}

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0]
        means = [self._mean(x[:, :, rows, columns]) for rows in self._rows for columns in self._columns]
        return torch.stack(means, dim=2).reshape(len(x), *self.output.shape)

    def _mean(self, region: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.operator, AdaptiveAvgPool2d)
        height, width = region.shape[2:]
        flat = region.reshape(*region.shape[:2], -1)
        if self.operator.size == (1, 1):
            return reduced(flat, 2, height * width)
        return reduced(flat, 2).to(torch.float32) / self._sides[height] / self._sides[width]


@step_for(GraphAggregation)
class GraphAggregationStep(StatelessStep):
    """In float64, hop by hop, rounded once."""

    def prepare(self) -> None:
        assert isinstance(self.operator, GraphAggregation)
        self._indptr, self._indices = self.here.hold(self.operator.indptr), self.here.hold(self.operator.indices)
        self._scale = self.here.hold(1.0 / np.sqrt(1.0 + np.diff(self.operator.indptr)))

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.operator, GraphAggregation)
        h = inputs[0].to(torch.float64).contiguous()
        nodes, features = h.shape[1:]
        each = block(features, BLOCK)
        for _ in range(self.operator.hops if h.numel() else 0):
            before, h = h, torch.empty_like(h)
            grid = (nodes, blocks(features, each), len(h))
            launch(joined, grid, before, self._scale, self._indptr, self._indices, h, nodes, features, BLOCK=each)
        return (h.clamp(0.0, 1.0) if self.operator.clip else h).to(torch.float32)
