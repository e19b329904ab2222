"""What works number by number, and parameters of which each number of a layer has its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synfire.engines.cpu import tape
from synfire.engines.cpu.tape import FLOATS, SPIKES
from synfire.engines.cpu.writing import LAST, Value, Writer, lines_for
from synfire.ops import Array, Signal
from synfire.ops.membrane import f32
from synfire.ops.scale import Scale
from synfire.ops.shift import Shift
from synfire.ops.threshold import Threshold


@lines_for(Scale, Shift, Threshold, small=True)
def element(writer: Writer, operator: Scale | Shift | Threshold, inputs: Sequence[Value], output: Signal) -> Value:
    (x,) = inputs
    form, most = (SPIKES, 1) if isinstance(operator, Threshold) else (FLOATS, None)
    target = writer.value(output, x.layout, form, x.still, most)
    reduce, own = _parameter(operator)
    line = writer.line(tape.ELEMENT, target, x, SIZE=output.size, REDUCE=reduce)
    line.arrays[tape.PARAMETERS] = each_of(own, target)
    writer.room(output.size)
    return target


def _parameter(operator: Scale | Shift | Threshold) -> tuple[int, Array]:
    """What becomes of each number, and by which parameter."""
    if isinstance(operator, Threshold):
        return tape.OVER, fires_at(f32(operator.threshold), operator.strict)
    return (tape.PRODUCT, f32(operator.factor)) if isinstance(operator, Scale) else (tape.OFFSET, f32(operator.offset))


def fires_at(threshold: Array, strict: bool) -> Array:
    """The lowest membrane that fires: the threshold, or the next float32 above it; not a number where there is none."""
    above = np.nextafter(threshold, np.float32(np.inf))
    return np.where(np.isposinf(threshold), np.float32(np.nan), above) if strict else threshold


def each_of(value: Array | float, target: Value) -> Array:
    """A parameter as one number a neuron, in the layer's layout."""
    return moved(np.broadcast_to(np.asarray(value, np.float32), target.signal.shape), target).reshape(-1)


def moved(sample: Array, target: Value) -> Array:
    """A sample, channels first, in the layer's layout."""
    return np.ascontiguousarray(np.moveaxis(sample, 0, -1) if turned(sample, target) else sample)


def turned(sample: Array, target: Value) -> bool:
    """Whether its channels are last in the layer's layout."""
    return target.layout == LAST and sample.ndim >= 2
