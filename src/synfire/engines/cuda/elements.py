"""What works element by element, or moves numbers: torch's own operators, none of which sums.

Each of them rounds once. A product and the sum behind it are two of them, and a divisor is a tensor: torch multiplies by the
reciprocal of a number.
"""

from __future__ import annotations

import numpy as np
import torch

from synfire.engines.cuda.step import StatelessStep, as_summand, as_value, step_for
from synfire.ops.add import Add
from synfire.ops.and_not import AndNot
from synfire.ops.arg_max import ArgMax
from synfire.ops.axes import batch_axis
from synfire.ops.batch_norm import BatchNorm
from synfire.ops.concatenate import Concatenate
from synfire.ops.constant import Constant
from synfire.ops.flatten import Flatten
from synfire.ops.identity import Identity
from synfire.ops.last import Last
from synfire.ops.multiply import Multiply
from synfire.ops.reshape import Reshape
from synfire.ops.scale import Scale
from synfire.ops.shift import Shift
from synfire.ops.slice import Slice
from synfire.ops.threshold import Threshold
from synfire.ops.transpose import Transpose


@step_for(Add)
class AddStep(StatelessStep):
    """In port order."""

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        total, *others = (as_summand(each, *inputs) for each in inputs)
        for other in others:
            total = total + other
        return total


@step_for(Multiply)
class MultiplyStep(StatelessStep):
    """In port order; spikes stay spikes."""

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        spikes = all(each.dtype == torch.uint8 for each in inputs)
        found, *others = inputs if spikes else (as_summand(each, *inputs) for each in inputs)
        for other in others:
            found = found * other
        return found


@step_for(AndNot)
class AndNotStep(StatelessStep):
    """What port 0 brings, where port 1 is silent."""

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        x, spikes = inputs
        return torch.where(spikes == 0, x, torch.zeros((), dtype=x.dtype, device=x.device))


@step_for(Scale, Shift, Threshold, BatchNorm, Constant)
class ParameterStep(StatelessStep):
    """One or two parameters, which stretch to the input's shape."""

    def prepare(self) -> None:
        operator = self.operator
        if isinstance(operator, BatchNorm):
            shape = [1] * len(self.inputs[0].shape)
            shape[operator.axis] = -1
            self._held = [self.here.hold(each.astype(np.float32).reshape(shape)) for each in operator.affine()]
        elif isinstance(operator, Constant):
            self._held = [self.here.hold(operator.value)]
        else:
            assert isinstance(operator, (Scale, Shift, Threshold))
            name = {Scale: "factor", Shift: "offset", Threshold: "threshold"}[type(operator)]
            self._held = [self.here.hold(np.asarray(getattr(operator, name), np.float32))]

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        x, operator, held = as_value(inputs[0]), self.operator, self._held
        if isinstance(operator, Scale):
            return x * held[0]
        if isinstance(operator, Shift):
            return x + held[0]
        if isinstance(operator, BatchNorm):
            return x * held[0] + held[1]
        if isinstance(operator, Threshold):
            return (x > held[0] if operator.strict else x >= held[0]).to(torch.uint8)
        return held[0].expand(len(x), *held[0].shape)


@step_for(Concatenate)
class ConcatenateStep(StatelessStep):
    """Ends to ends."""

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.operator, Concatenate)
        spikes = all(each.dtype == torch.uint8 for each in inputs)
        parts = list(inputs) if spikes else [as_summand(each, *inputs) for each in inputs]
        return torch.cat(parts, dim=batch_axis(self.operator.axis))


@step_for(Slice)
class SliceStep(StatelessStep):
    """A part of one axis."""

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        operator = self.operator
        assert isinstance(operator, Slice)
        return inputs[0].narrow(batch_axis(operator.axis), operator.start, operator.stop - operator.start)


@step_for(Transpose)
class TransposeStep(StatelessStep):
    """Axes in another order."""

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.operator, Transpose)
        return inputs[0].permute(0, *(axis + 1 for axis in self.operator.axes))


@step_for(Reshape, Flatten, Identity, Last)
class SameNumbersStep(StatelessStep):
    """The same numbers, perhaps in another shape."""

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0].reshape(len(inputs[0]), *self.output.shape)


@step_for(ArgMax)
class ArgMaxStep(StatelessStep):
    """Of equals, the lowest index: torch promises that, too."""

    def apply(self, *inputs: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.operator, ArgMax)
        return inputs[0].argmax(dim=batch_axis(self.operator.axis))
