"""How neurons become lines: behind the synapse that feeds them alone, by themselves, or in a loop with one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synfire.engines.cpu import tape
from synfire.engines.cpu.lines import receive
from synfire.engines.cpu.reach import Axis, reach
from synfire.engines.cpu.tape import FLOATS, SPIKES
from synfire.engines.cpu.vectors import LANES
from synfire.engines.cpu.writing import LAST, Line, Memory, Refusal, Value, Writer, lines_for
from synfire.ops import Array, Operator, Signal
from synfire.ops.alif import ALIF
from synfire.ops.if_ import IF
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.membrane import HARD
from synfire.ops.parametric_lif import ParametricLIF
from synfire.ops.sharing import shared


@lines_for(IF, LIF, ParametricLIF, ALIF)
def neurons(writer: Writer, operator: Operator, inputs: Sequence[Value], output: Signal) -> Value:
    """A layer of neurons, fused with its synapse where nobody else reads the current between them."""
    (x,) = inputs
    target = writer.value(output, x.layout, SPIKES, False, 1)
    line = writer.synapse_of(x)
    rows = 0 if line is None else line.numbers.get(tape.TILES, line.numbers[tape.ROWS])
    if line is None or (isinstance(operator, ALIF) and rows > 1):
        line = writer.line(tape.NEURON, target, x, ROWS=1, ROW=output.size, PITCH=output.size, SIZE=output.size)
        writer.room(output.size)
    line.ports[tape.TARGET] = target
    _describe(line, operator, target, inputs[0].signal)
    return target


def loop(writer: Writer, operator: Operator, synapse: Linear, x: Value, output: Signal, delayed: str) -> Value:
    """Add → neurons → Linear and back, one step later; what is on its way then is remembered as `delayed`."""
    if x.format != FLOATS:
        raise Refusal
    size = output.size
    target = writer.value(output, x.layout, SPIKES, False, 1)
    line = writer.line(tape.LOOP, target, x)
    receive(
        writer, line, reach(synapse.weight[:, :, None, None], synapse.bias, Axis(1, 1, 1), Axis(1, 1, 1)), (1, 1, size)
    )
    line.numbers[tape.FORMAT] = SPIKES
    _describe(line, operator, target, x.signal)
    line.memories.append(Memory(tape.OTHER, np.zeros((1, size), np.float32), delayed))
    return target


def _describe(line: Line, operator: Operator, target: Value, given: Signal) -> None:
    """Parameters and states of the layer."""
    line.numbers[tape.TARGET_FORMAT] = SPIKES
    fresh = {
        name: (shared(_moved(array[0], target)), name, _turned(array[0], target))
        for name, array in operator.initial_state(1, given).items()
    }
    if isinstance(operator, ALIF):
        parameters = {
            tape.RATE: operator.alpha, tape.THRESHOLD: operator.rho, tape.BASE: operator.b0, tape.SLOPE: operator.beta,
        }  # fmt: skip
        line.arrays |= {place: _each(value, target) for place, value in parameters.items()}
        line.numbers |= {tape.FORM: tape.ADAPTIVE, tape.HARD: int(operator.strict)}
        names = {tape.STATE: "u", tape.STATE_2: "b", tape.STATE_3: "s"}
        line.memories += [Memory(place, *fresh[name]) for place, name in names.items()]
        return
    assert isinstance(operator, (IF, LIF, ParametricLIF))
    form, rate = _charging(operator)
    threshold = np.asarray(operator.threshold, np.float32)
    parameters = {
        tape.THRESHOLD: threshold, tape.FIRES_AT: _fires_at(threshold, operator.strict), tape.RESTS_AT: operator.v_reset,
        tape.RATE: rate,
    }  # fmt: skip
    each = any(np.size(value) > 1 for value in parameters.values())
    line.arrays |= {
        place: _each(value, target) if each else np.resize(np.asarray(value, np.float32), LANES)
        for place, value in parameters.items()
    }
    line.numbers |= {tape.FORM: form, tape.HARD: int(operator.reset == HARD), tape.EACH: int(each)}
    line.memories.append(Memory(tape.STATE, *fresh["v"]))


def _charging(operator: IF | LIF | ParametricLIF) -> tuple[int, Array]:
    """The form of the charge, and its rate."""
    one = np.float32(1)
    if isinstance(operator, IF):
        return tape.IF, np.asarray(one)
    if isinstance(operator, ParametricLIF):
        return tape.DECAY if operator.decay_input else tape.LEAK, np.asarray(operator.inv_tau, np.float32)
    tau = np.asarray(operator.tau, np.float32)
    if not operator.decay_input and operator.reset != HARD:
        return tape.KEEP, np.asarray(one - one / tau)
    power_of_two = bool(np.all(np.frexp(tau)[0] == 0.5))
    form = (tape.DECAY_DIVIDE, tape.DECAY) if operator.decay_input else (tape.LEAK_DIVIDE, tape.LEAK)
    return form[power_of_two], np.asarray(one / tau) if power_of_two else tau


def _fires_at(threshold: Array, strict: bool) -> Array:
    """The lowest membrane that fires: the threshold, or the next float32 above it; not a number where there is none."""
    above = np.nextafter(threshold, np.float32(np.inf))
    return np.where(np.isposinf(threshold), np.float32(np.nan), above) if strict else threshold


def _each(value: Array | float, target: Value) -> Array:
    """A parameter as one number a neuron, in the layer's layout."""
    return _moved(np.broadcast_to(np.asarray(value, np.float32), target.signal.shape), target).reshape(-1)


def _moved(sample: Array, target: Value) -> Array:
    """A sample, channels first, in the layer's layout."""
    return np.ascontiguousarray(np.moveaxis(sample, 0, -1) if _turned(sample, target) else sample)


def _turned(sample: Array, target: Value) -> bool:
    """Whether its channels are last in the layer's layout."""
    return target.layout == LAST and sample.ndim >= 2
