"""Synapses, matrix products and attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from synfire.engines.cuda.kernels.launching import block, blocks, launch
from synfire.engines.cuda.kernels.products import convolution, list_active, listed_product, product
from synfire.engines.cuda.step import StatelessStep, as_summand, step_for
from synfire.ops import Kind
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.linear import Linear
from synfire.ops.mat_mul import MatMul
from synfire.ops.self_attention import SelfAttention

FEW_ROWS, LARGE = 32, 65_536
"""Up to so many rows, and from so many weights, a Linear lists what is active and reads the weights of that alone. A guess: it
was not measured on a GPU. Either way gives the same bits."""

EXACT = 2**24
"""Whole numbers below this are exact in float32, in any order of their sum."""


@step_for(Linear)
class LinearStep(StatelessStep):
    """Few rows read the weights of active inputs alone; many share every weight that is read."""

    def prepare(self) -> None:
        assert isinstance(self.operator, Linear)
        self._weight = self.here.hold(np.ascontiguousarray(self.operator.weight.T))
        self._bias = self.here.hold(self.operator.bias + np.float32(0))

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0].contiguous()
        inner, columns = self._weight.shape
        rows = x.numel() // max(inner, 1) if inner else x.shape[:-1].numel()
        out = torch.empty((*x.shape[:-1], columns), dtype=torch.float32, device=x.device)
        if rows <= FEW_ROWS and self._weight.numel() >= LARGE:
            self._listed(x, out, rows)
        elif out.numel():
            each = block(columns, 64)
            grid = (blocks(rows, 16), blocks(columns, each), 1)
            strides = (inner, 1, columns, 1, 0, 0)
            launch(
                product, grid, x, self._weight, self._bias, out, rows, columns, inner, *strides,
                SPIKES=self.inputs[0].kind is Kind.SPIKE, STARTED=True, BLOCK_R=16, BLOCK_C=each,
            )  # fmt: skip
        return out

    def _listed(self, x: torch.Tensor, out: torch.Tensor, rows: int) -> None:
        inner, columns = self._weight.shape
        active = torch.empty((rows, inner), dtype=torch.int32, device=x.device)
        count = torch.empty(rows, dtype=torch.int32, device=x.device)
        each = block(columns, 128)
        launch(list_active, (rows,), x, active, count, inner, BLOCK=block(inner, 1024))
        launch(
            listed_product, (rows, blocks(columns, each)), x, active, count, self._weight, self._bias, out, inner, columns,
            BLOCK=each,
        )  # fmt: skip


@step_for(Conv1d, Conv2d)
class ConvStep(StatelessStep):
    """Sequences are images of one row."""

    def prepare(self) -> None:
        assert isinstance(self.operator, (Conv1d, Conv2d))
        operator = self.operator
        weight = operator.weight if isinstance(operator, Conv2d) else operator.weight[:, :, None]
        self._weight = self.here.hold(np.ascontiguousarray(weight.transpose(2, 3, 1, 0)))
        self._bias = self.here.hold(operator.bias + np.float32(0))
        if isinstance(operator, Conv2d):
            pads, moves = (operator.padding[0], operator.padding[2]), (*operator.stride, *operator.dilation)
        else:
            pads, moves = (0, operator.padding[0]), (1, operator.stride, 1, operator.dilation)
        self._geometry = (*weight.shape[2:], *moves[:2], *pads, *moves[2:], operator.groups)

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        x = inputs[0].contiguous()
        out = torch.empty((len(x), *self.output.shape), dtype=torch.float32, device=x.device)
        height, width = _plane(x.shape[2:])
        rows, columns = _plane(self.output.shape[1:])
        channels, groups = self._weight.shape[2], self._geometry[-1]
        outputs = self._weight.shape[3] // groups
        at_once, each = block(rows * columns, 64), block(outputs, 32)
        grid = (len(x), blocks(rows * columns, at_once), groups * blocks(outputs, each))
        if out.numel():
            launch(
                convolution, grid, x, self._weight, self._bias, out, height, width, rows, columns, channels, outputs,
                *self._geometry, SPIKES=self.inputs[0].kind is Kind.SPIKE, BLOCK_P=at_once, BLOCK_O=each,
            )  # fmt: skip
        return out


@step_for(MatMul)
class MatMulStep(StatelessStep):
    """The sum over k starts from 0, in the dtype of the product."""

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.operator, MatMul)
        a, b = (as_summand(each, *inputs).contiguous() for each in inputs)
        out = torch.empty((len(a), *self.output.shape), dtype=a.dtype, device=a.device)
        (rows, columns), inner = self.output.shape[-2:], a.shape[-2 if self.operator.transpose_a else -1]
        a_strides = (1, rows) if self.operator.transpose_a else (inner, 1)
        b_strides = (1, inner) if self.operator.transpose_b else (columns, 1)
        each, at_once = block(columns, 64), block(rows, 16)
        grid = (blocks(rows, at_once), blocks(columns, each), out.numel() // max(rows * columns, 1))
        if out.numel():
            launch(
                product, grid, a, b, a, out, rows, columns, inner, *a_strides, *b_strides, rows * inner, inner * columns,
                SPIKES=False, STARTED=False, BLOCK_R=at_once, BLOCK_C=each,
            )  # fmt: skip
        return out


@step_for(SelfAttention)
class SelfAttentionStep(StatelessStep):
    """Products of whole numbers, in the cheaper association: exact in any order, so the library's fastest serves."""

    def prepare(self) -> None:
        assert isinstance(self.operator, SelfAttention)
        most = int(np.prod(self.inputs[0].shape))
        spikes = all(each.kind is Kind.SPIKE for each in self.inputs)
        self._number = torch.float32 if spikes and most < EXACT else torch.float64
        self._scale = self.here.hold(np.float32(self.operator.scale).reshape(1))

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        q, k, v = (self._by_head(each.to(self._number)) for each in inputs)
        tokens, channels = q.shape[-2:]
        found = q @ (k.mT @ v) if tokens > channels else (q @ k.mT) @ v
        joined = found.transpose(1, 2).reshape(len(found), tokens, -1)
        joined = joined.transpose(1, 2) if self._channels_first else joined
        return joined.to(torch.float32).contiguous() * self._scale

    @property
    def _channels_first(self) -> bool:
        assert isinstance(self.operator, SelfAttention)
        return self.operator.layout == "channels_first"

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        """`(batch, head, token, channel of the head)`."""
        assert isinstance(self.operator, SelfAttention)
        x = x.transpose(1, 2) if self._channels_first else x
        return x.reshape(*x.shape[:2], self.operator.heads, -1).transpose(1, 2)


def _plane(sizes: Sequence[int]) -> tuple[int, int]:
    """Height and width of an image, or of a sequence as one."""
    return (sizes[0], sizes[1]) if len(sizes) == 2 else (1, sizes[0])
