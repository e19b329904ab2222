"""Steps of what stands between synapses and neurons: repetition, pooling, element-by-element arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synfire.engines.cpu import kernels
from synfire.engines.cpu.step import FIRST, LAST, ElementwiseStep, StatelessStep, Step, constant, kernel_for
from synfire.ops import Array, Kind, Operator, Signal, State
from synfire.ops.add import Add
from synfire.ops.and_not import AndNot
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.flatten import Flatten
from synfire.ops.identity import Identity
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.mean_rate import MeanRate
from synfire.ops.multiply import Multiply
from synfire.ops.pooling import Pool
from synfire.ops.sum_pool2d import SumPool2d


@kernel_for(ConstantCurrent)
class ConstantCurrentStep(Step):
    """Repeats without copying."""

    def __init__(self, operator: Operator, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self.layout = layouts[0]

    def run(self, state: State, inputs: Sequence[Array], steps: int) -> tuple[State, Array]:
        return {}, inputs[0]


@kernel_for(Flatten)
class FlattenStep(StatelessStep):
    """A view of other axes; the order is channels first, as the next synapse's weights have it."""

    def run(self, state: State, inputs: Sequence[Array], steps: int) -> tuple[State, Array]:
        (x,) = inputs
        shape = (*x.shape[1:2], *self.output.shape)
        return {}, np.broadcast_to(x[0].reshape(shape), (steps, *shape)) if constant(x) else x.reshape(steps, *shape)


@kernel_for(MeanRate)
class MeanRateStep(Step):
    """Running sums of the whole block, divided at once."""

    def __init__(self, operator: Operator, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, [FIRST])

    def run(self, state: State, inputs: Sequence[Array], steps: int) -> tuple[State, Array]:
        (x,) = inputs
        sums = np.empty((steps + 1, *x.shape[1:]), np.float32)
        sums[0], sums[1:] = state["sum"], x
        np.add.accumulate(sums, axis=0, out=sums)
        seen = state["steps"] + np.arange(1, steps + 1)[:, None]
        mean = sums[1:] / seen.astype(np.float32).reshape(*seen.shape, *(1,) * (x.ndim - 2))
        return {"sum": sums[-1], "steps": seen[-1]}, mean


for _kind in (Add, AndNot, Identity, Multiply):
    kernel_for(_kind)(ElementwiseStep)


class PoolStep(StatelessStep):
    """Windows over `(n, height, width, channel)`."""

    layout = LAST

    def __init__(self, operator: Pool, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self.layouts = (LAST,)
        top, _, left, _ = operator.padding
        dilation = operator.dilation if isinstance(operator, MaxPool2d) else (1, 1)
        self._geometry = np.array([*operator.kernel, *operator.stride, top, left, *dilation], np.int64)
        self._shape = (*output.shape[1:], output.shape[0])


@kernel_for(MaxPool2d)
class MaxPool2dStep(PoolStep):
    def apply(self, *inputs: Array) -> Array:
        x = np.ascontiguousarray(inputs[0])
        out = np.empty((x.shape[0], *self._shape), x.dtype)
        kernels.max_pool2d(x, self._geometry, out)
        return out if self.inputs[0].kind is Kind.SPIKE else out + out.dtype.type(0)


@kernel_for(SumPool2d)
class SumPool2dStep(PoolStep):
    def apply(self, *inputs: Array) -> Array:
        x = np.ascontiguousarray(inputs[0])
        out = np.empty((x.shape[0], *self._shape), np.float32 if self.inputs[0].kind is Kind.VALUE else np.int32)
        kernels.sum_pool2d(x, self._geometry, out)
        return out


@kernel_for(AvgPool2d)
class AvgPool2dStep(SumPool2dStep):
    """The sum of each window, then one division by what the operator counts in it."""

    def __init__(self, operator: AvgPool2d, inputs: Sequence[Signal], output: Signal, layouts: Sequence[str]) -> None:
        super().__init__(operator, inputs, output, layouts)
        self._counts = operator.counts(inputs[0].shape[1:]).astype(np.float32)

    def apply(self, *inputs: Array) -> Array:
        if self.inputs[0].kind is Kind.COUNT:  # whole numbers that float32 may not hold on the way
            return super().apply(*inputs).astype(np.float32) / self._counts[..., None]
        x = np.ascontiguousarray(inputs[0])
        out = np.empty((x.shape[0], *self._shape), np.float32)
        kernels.avg_pool2d(x, self._geometry, self._counts, out)
        return out
