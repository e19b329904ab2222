"""How neurons become lines: behind the synapse that feeds them alone, by themselves, or in a loop with one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synfire.engines.cpu import tape
from synfire.engines.cpu.elements import each_of, fires_at, moved, turned
from synfire.engines.cpu.integrating_kernels import LAID, MEMBRANE, choices_of
from synfire.engines.cpu.lines import receive
from synfire.engines.cpu.reach import Axis, reach
from synfire.engines.cpu.tape import FLOATS, SPIKES
from synfire.engines.cpu.vectors import LANES
from synfire.engines.cpu.writing import COUNTED, Line, Memory, Refusal, Value, Writer, lines_for
from synfire.ops import Array, Kind, Operator, Signal
from synfire.ops.alif import ALIF
from synfire.ops.cuba_li import CubaLI
from synfire.ops.cuba_lif import CubaLIF
from synfire.ops.current_based import CurrentBased
from synfire.ops.discrete_lif import DiscreteLIF
from synfire.ops.if_ import IF
from synfire.ops.leaky_integrator import LeakyIntegrator
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.membrane import HARD, MOST_SPIKES, Firing, Membrane, f32
from synfire.ops.parametric_lif import ParametricLIF
from synfire.ops.sharing import shared


@lines_for(IF, LIF, ParametricLIF, ALIF, DiscreteLIF, CubaLIF, LeakyIntegrator, CubaLI)
def neurons(writer: Writer, operator: Operator, inputs: Sequence[Value], output: Signal) -> Value:
    """A layer of neurons, fused with its synapse where nobody else reads the current between them."""
    (x,) = inputs
    form = SPIKES if output.kind is Kind.SPIKE else FLOATS
    most = {Kind.SPIKE: 1, Kind.COUNT: COUNTED - 1 if writer.counted else None}.get(output.kind)
    target = writer.value(output, x.layout, form, False, most)
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
    if x.format != FLOATS or output.kind is not Kind.SPIKE:
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
    line.numbers[tape.TARGET_FORMAT] = target.format
    fresh = {
        name: (shared(moved(array[0], target)), name, turned(array[0], target))
        for name, array in operator.initial_state(1, given).items()
    }
    if isinstance(operator, ALIF):
        parameters = {
            tape.RATE: operator.alpha, tape.THRESHOLD: operator.rho, tape.BASE: operator.b0, tape.SLOPE: operator.beta,
        }  # fmt: skip
        line.arrays |= {place: each_of(value, target) for place, value in parameters.items()}
        line.numbers |= {tape.FORM: tape.ADAPTIVE, tape.HARD: int(operator.strict)}
        names = {tape.STATE: "u", tape.STATE_2: "b", tape.STATE_3: "s"}
        line.memories += [Memory(place, *fresh[name]) for place, name in names.items()]
        return
    if isinstance(operator, Membrane):
        _integrating(line, operator, target)
        names = {tape.STATE: "v"} | ({tape.STATE_2: "i"} if isinstance(operator, CurrentBased) else {})
        line.memories += [Memory(place, *fresh[name]) for place, name in names.items()]
        return
    assert isinstance(operator, (IF, LIF, ParametricLIF))
    form, rate = _charging(operator)
    threshold = np.asarray(operator.threshold, np.float32)
    parameters = {
        tape.THRESHOLD: threshold, tape.FIRES_AT: fires_at(threshold, operator.strict), tape.RESTS_AT: operator.v_reset,
        tape.RATE: rate,
    }  # fmt: skip
    each = any(np.size(value) > 1 for value in parameters.values())
    line.arrays |= {
        place: each_of(value, target) if each else np.resize(np.asarray(value, np.float32), LANES)
        for place, value in parameters.items()
    }
    line.numbers |= {tape.FORM: form, tape.HARD: int(operator.reset == HARD), tape.EACH: int(each)}
    line.memories.append(Memory(tape.STATE, *fresh["v"]))


def _integrating(line: Line, operator: Membrane, target: Value) -> None:
    """The choices of the layer, and its rows of parameters."""
    choices = {"integration": operator.integration, "spikes": MEMBRANE}
    parameters = {"rate": operator.rate, "gain": operator.gain, "v_leak": operator.v_leak}
    if isinstance(operator, CurrentBased):
        choices |= {"current_integration": operator.current_integration, "order": operator.order}
        parameters |= {
            "w_in": operator.w_in,
            "current_rate": operator.current_rate,
            "current_leak": operator.current_leak,
        }
    if isinstance(operator, Firing):
        threshold = f32(operator.threshold)
        choices |= {"spikes": operator.spikes, "reset": operator.reset, "reset_at": operator.reset_at}
        choices |= {} if operator.v_min is None else {"floor": "v_min"}
        parameters |= {
            "fires_at": fires_at(threshold, operator.strict), "threshold": threshold, "v_reset": operator.v_reset,
            "v_min": 0.0 if operator.v_min is None else operator.v_min,
            "most": float(MOST_SPIKES), "counted": np.inf if target.most is None else target.most + 1,
        }  # fmt: skip
    values = [f32(parameters.get(name, 0.0)) for name in LAID]
    each = any(value.size > 1 for value in values)
    rows = np.stack([each_of(value, target) if each else np.resize(value, LANES) for value in values])
    line.arrays[tape.PARAMETERS] = rows
    line.numbers |= {
        tape.FORM: tape.INTEGRATING, tape.CHOICES: choices_of(choices), tape.EACH: int(each),
        tape.PARAMETER_BYTES: rows.strides[0],
    }  # fmt: skip


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
