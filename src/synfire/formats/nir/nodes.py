"""Operators to NIR nodes: the inverse of `neurons` and `layers`.

For each operator a few nodes are proposed; the writer keeps the first that reads back as the same operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from synfire.formats.discretisation import Discretisation
from synfire.formats.nir.hdf5 import Node
from synfire.formats.nir.rates import time_constant
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.cuba_li import CubaLI
from synfire.ops.cuba_lif import CubaLIF
from synfire.ops.current_based import CurrentBased
from synfire.ops.delay import Delay
from synfire.ops.discrete_lif import DiscreteLIF
from synfire.ops.flatten import Flatten
from synfire.ops.if_ import IF
from synfire.ops.leaky_integrator import LeakyIntegrator
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.membrane import DECAY, RELAX, RELAX_LEAK_FIRST, Membrane, f32
from synfire.ops.operator import Operator
from synfire.ops.scale import Scale
from synfire.ops.signal import Array, Signal
from synfire.ops.sum_pool2d import SumPool2d
from synfire.ops.threshold import Threshold

Fields = dict[str, Any]


def proposals(name: str, operator: Operator, arriving: Signal, choice: Discretisation) -> Iterator[Node]:
    """NIR nodes that may stand for `operator`, whose input is `arriving`; none when NIR has nothing of the kind."""
    make = _MAKERS.get(type(operator))
    for kind, fields in make(operator, arriving, choice) if make else ():
        yield Node(name, kind, fields)


def _full(value: Array | float, arriving: Signal) -> Array:
    """A parameter for every neuron, as NIR wants it, in its own number format."""
    array = f32(value) if isinstance(value, float) else np.asarray(value)
    return np.broadcast_to(array, arriving.shape).copy()


def _spikingjelly_if(each: IF, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    r = np.full(arriving.shape, 1 / choice.step_s)
    yield "IF", {"r": r, "v_threshold": _full(each.threshold, arriving), "v_reset": _full(each.v_reset, arriving)}


def _spikingjelly_lif(each: LIF, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    steps = _full(each.tau, arriving).astype(np.float64)
    v_reset = _full(each.v_reset, arriving)
    yield (
        "LIF",
        {
            "tau": steps * choice.step_s,
            "r": np.ones_like(steps) if each.decay_input else steps,
            "v_leak": v_reset,
            "v_threshold": _full(each.threshold, arriving),
            "v_reset": v_reset,
        },
    )


def _lif(each: DiscreteLIF, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    firing = {"v_threshold": _full(each.threshold, arriving), "v_reset": _full(each.v_reset, arriving)}
    if each.integration == DECAY:
        yield "IF", {"r": _integrator_r(each, arriving, choice), **firing}
    yield "LIF", {**_leaky(each, arriving, choice), **firing}


def _li(each: LeakyIntegrator, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    if each.integration == DECAY and np.all(f32(each.rate) == 1):
        yield "I", {"r": _integrator_r(each, arriving, choice)}
    else:
        yield "LI", _leaky(each, arriving, choice)


def _cuba_lif(each: CubaLIF, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    firing = {"v_threshold": _full(each.threshold, arriving), "v_reset": _full(each.v_reset, arriving)}
    yield "CubaLIF", {**_current(each, arriving, choice), **firing}


def _cuba_li(each: CubaLI, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    yield "CubaLI", _current(each, arriving, choice)


def _integrator_r(each: Membrane, arriving: Signal, choice: Discretisation) -> Array:
    gain = _full(each.gain, arriving).astype(np.float64)
    kept = choice.resistance == "kept" or (choice.resistance == "spikingjelly" and isinstance(each, LeakyIntegrator))
    return gain / choice.step_s if kept else gain


def _resistance(gain: Array | float, form: str, tau_s: Array, arriving: Signal, choice: Discretisation) -> Array:
    """The R by which one unit of input adds `gain` to the membrane's step."""
    value = _full(gain, arriving).astype(np.float64)
    if form in (RELAX, RELAX_LEAK_FIRST) or choice.resistance == "dropped":
        return value
    if choice.integrator == "exponential":
        return value / -np.expm1(-choice.step_s / tau_s)
    return value * tau_s / choice.step_s


def _leaky(each: Membrane, arriving: Signal, choice: Discretisation) -> Fields:
    tau_s = time_constant(choice, each.integration, _full(each.rate, arriving))
    return {
        "tau": tau_s,
        "r": _resistance(each.gain, each.integration, tau_s, arriving, choice),
        "v_leak": _full(each.v_leak, arriving),
    }


def _current(each: CurrentBased, arriving: Signal, choice: Discretisation) -> Fields:
    tau_syn = time_constant(choice, each.current_integration, _full(each.current_rate, arriving))
    leaky = _leaky(each, arriving, choice)
    return {
        "tau_syn": tau_syn,
        "tau_mem": leaky["tau"],
        "r": leaky["r"],
        "v_leak": leaky["v_leak"],
        "w_in": _resistance(each.w_in, each.current_integration, tau_syn, arriving, choice),
    }


def _linear(each: Linear, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    yield "Affine", {"weight": each.weight, "bias": each.bias}


def _conv1d(each: Conv1d, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    for padding in (np.int64(each.padding[0]), "same"):
        yield "Conv1d", _convolution(each, padding, arriving.shape[1])


def _conv2d(each: Conv2d, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    for padding in (np.array(each.padding[::2]), "same"):
        yield "Conv2d", _convolution(each, padding, np.array(arriving.shape[1:]))


def _convolution(each: Conv1d | Conv2d, padding: Any, input_shape: Any) -> Fields:
    return {
        "input_shape": input_shape,
        "weight": each.weight,
        "stride": np.array(each.stride),
        "padding": padding,
        "dilation": np.array(each.dilation),
        "groups": each.groups,
        "bias": each.bias,
    }


def _pool(each: SumPool2d | AvgPool2d, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    yield (
        each.kind,
        {
            "kernel_size": np.array(each.kernel),
            "stride": np.array(each.stride),
            "padding": np.array(each.padding[::2]),
        },
    )


def _flatten(each: Flatten, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    fields = {"start_dim": each.start_axis, "end_dim": each.end_axis, "input_type": np.array(arriving.shape)}
    yield "Flatten", fields


def _scale(each: Scale, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    yield "Scale", {"scale": _full(each.factor, arriving)}


def _threshold(each: Threshold, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    yield "Threshold", {"threshold": _full(each.threshold, arriving)}


def _delay(each: Delay, arriving: Signal, choice: Discretisation) -> Iterator[tuple[str, Fields]]:
    yield "Delay", {"delay": np.broadcast_to(np.asarray(each.steps), arriving.shape) * choice.step_s}


_MAKERS: dict[type, Callable[..., Iterator[tuple[str, Fields]]]] = {
    IF: _spikingjelly_if,
    LIF: _spikingjelly_lif,
    DiscreteLIF: _lif,
    LeakyIntegrator: _li,
    CubaLIF: _cuba_lif,
    CubaLI: _cuba_li,
    Linear: _linear,
    Conv1d: _conv1d,
    Conv2d: _conv2d,
    SumPool2d: _pool,
    AvgPool2d: _pool,
    Flatten: _flatten,
    Scale: _scale,
    Threshold: _threshold,
    Delay: _delay,
}
