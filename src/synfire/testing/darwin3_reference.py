"""What a darwin3 network means, worked out without any word of the chip: the oracle for compiler and emulation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from synfire.devices.darwin3.ir import (
    CLOCK,
    HARD,
    SOFT,
    Convolution,
    Full,
    Network,
    Population,
    Projection,
)
from synfire.graph import Graph
from synfire.ops import Array, Clock, Kind, Operator, Signal
from synfire.ops.add import Add
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.conv2d import Conv2d
from synfire.ops.flatten import Flatten
from synfire.ops.if_ import IF
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.parametric_lif import ParametricLIF
from synfire.testing.graphs import GraphBuilder


def simulate(network: Network, inputs: Mapping[str, Array], whole: bool = False) -> dict[str, Array]:
    """Spikes of every population `(step, element)`, of readouts their sums, for inputs `(step, element)`.

    In real numbers, or, `whole`, in the chip's integers. Step by step of the graph: latency is of no concern here.
    """
    steps = len(next(iter(inputs.values())))
    order = sorted(network.populations, key=lambda name: network.latency[name])
    emitted = {name: np.zeros((steps, each.size)) for name, each in network.populations.items()}
    emitted |= {name: array.astype(np.float64) for name, array in inputs.items()}
    membranes = {name: np.zeros(each.size) for name, each in network.populations.items()}
    for t in range(steps):
        for name in order:
            population = network.populations[name]
            driven = np.zeros(population.size)
            for each in network.arriving(name):
                if t >= each.delay_steps:
                    ones = np.ones(len(each.place))
                    source = ones if each.source == CLOCK else emitted[each.source][t - each.delay_steps]
                    driven += _sent(each, source, population)
            membranes[name], emitted[name][t] = _fire(population, membranes[name], driven, whole)
    return emitted


def random_stage(seed: int) -> Graph:
    """A small spiking stage whose numbers are short binary fractions, so that real arithmetic makes no rounding.

    Convolutions and linear layers of LIF, IF and ParametricLIF neurons, pools, residual sums, recurrence, several outputs.
    """
    rng = np.random.default_rng(seed)
    builder = _Fractions(rng)
    shape = (int(rng.integers(1, 4)), 4, 4) if rng.random() < 0.7 else (int(rng.integers(2, 9)),)
    top = builder.input(Signal(shape, Kind.SPIKE, Clock.STEP))
    for _ in range(int(rng.integers(1, 5))):
        top = _layer(builder, top)
    outputs = {"top": top}
    if rng.random() < 0.5:
        outputs["read"] = _linear(builder, top)
    if rng.random() < 0.3:
        spiking = [name for name, signal in builder.signals.items() if signal.kind is Kind.SPIKE]
        outputs["inner"] = spiking[int(rng.integers(len(spiking)))]
    return builder.build({name: source for name, source in outputs.items() if source not in builder.inputs})


class _Fractions(GraphBuilder):
    """Weights are eighths."""

    def weights(self, *shape: int) -> Array:
        return np.asarray(self.rng.integers(-8, 9, shape) / 8, np.float32)


def _layer(builder: _Fractions, top: str) -> str:
    flat = len(builder.signals[top].shape) == 1
    choices = [_linear_layer, _recurrent_layer] if flat else [_conv_layer, _conv_layer, _residual, _pooled, _flat]
    return choices[int(builder.rng.integers(len(choices)))](builder, top)


def _neuron(rng: np.random.Generator) -> Operator:
    threshold, reset = float(rng.choice([0.5, 1.0, 1.5])), str(rng.choice(["hard", "soft"]))
    leaky = {"decay_input": bool(rng.random() < 0.5), "strict": bool(rng.random() < 0.3)}
    choices = (
        LIF(tau=float(rng.choice([1.0, 2.0, 4.0])), threshold=threshold, reset=reset, **leaky),
        IF(threshold=threshold, reset=reset),
        ParametricLIF(inv_tau=0.25, threshold=threshold, reset=reset, **leaky),
    )
    return choices[int(rng.integers(len(choices)))]


def _conv_layer(builder: _Fractions, top: str) -> str:
    rng, channels = builder.rng, builder.signals[top].shape[0]
    groups = channels if rng.random() < 0.2 else 1
    outputs, kernel = groups * int(rng.integers(1, 4)), int(rng.choice([1, 3]))
    pad = int(rng.integers(0, 2)) if kernel == 3 else 0
    if builder.signals[top].shape[1] + 2 * pad < kernel:
        return _flat(builder, top)
    weight, bias = builder.weights(outputs, channels // groups, kernel, kernel), builder.weights(outputs)
    stride = int(rng.integers(1, 3))
    conv = builder.add(Conv2d(weight, bias, (stride, stride), (pad,) * 4, groups=groups), top)
    return builder.add(_neuron(rng), conv)


def _residual(builder: _Fractions, top: str) -> str:
    """Two layers and a way around them, into one neuron."""
    channels = builder.signals[top].shape[0]
    inner = top
    for _ in range(2):
        weight = builder.weights(channels, channels, 3, 3)
        inner = builder.add(Conv2d(weight, builder.weights(channels), padding=(1, 1, 1, 1)), inner)
        inner = builder.add(_neuron(builder.rng), inner)
    return builder.add(_neuron(builder.rng), builder.add(Add(), inner, top))


def _pooled(builder: _Fractions, top: str) -> str:
    if min(builder.signals[top].shape[1:]) < 2:
        return _flat(builder, top)
    overlapping = builder.rng.random() < 0.3
    stride = (1, 1) if overlapping else (2, 2)
    if builder.rng.random() < 0.5 and builder.signals[top].kind is Kind.SPIKE:
        return builder.add(MaxPool2d((2, 2), stride), top)
    pooled = builder.add(AvgPool2d((2, 2), stride), top)
    return _conv_layer(builder, pooled)


def _flat(builder: _Fractions, top: str) -> str:
    return _linear_layer(builder, builder.add(Flatten(), top))


def _linear(builder: _Fractions, top: str) -> str:
    if len(builder.signals[top].shape) > 1:
        top = builder.add(Flatten(), top)
    width = int(builder.rng.integers(2, 9))
    return builder.add(Linear(builder.weights(width, builder.signals[top].size), builder.weights(width)), top)


def _linear_layer(builder: _Fractions, top: str) -> str:
    return builder.add(_neuron(builder.rng), _linear(builder, top))


def _recurrent_layer(builder: _Fractions, top: str) -> str:
    """Spikes come back through a linear layer, one to three steps later."""
    current = _linear(builder, top)
    width = builder.signals[current].size
    back = f"back{len(builder.operators)}"
    builder.operators[back] = Linear(builder.weights(width, width), builder.weights(width))
    builder.signals[back] = builder.signals[current]
    spikes = builder.add(_neuron(builder.rng), builder.add(Add(), current, back))
    builder.loop(spikes, back, 0, int(builder.rng.integers(1, 4)))
    return spikes


def _sent(each: Projection, source: Array, population: Population) -> Array:
    """What a projection adds for `source` `(element,)`."""
    channels, pixels = each.form.in_shape
    seen = np.zeros(channels * pixels)
    np.add.at(seen, each.place[each.place >= 0], source[each.place >= 0])
    if isinstance(each.form, Full):
        return np.asarray(each.form.weight @ seen)
    if isinstance(each.form, Convolution):
        return _convolved(each.form, seen, population)
    added = np.zeros(population.size)
    rows = each.form.rows
    np.add.at(added, rows.targets, rows.weights * seen[rows.of_row])
    return added


def _convolved(form: Convolution, seen: Array, population: Population) -> Array:
    layout, outputs = population.layout, form.weight.shape[0]
    after = []
    for axis, (size, out) in enumerate(zip(form.in_size, (layout.height, layout.width), strict=True)):
        reach = form.dilation[axis] * (form.weight.shape[2 + axis] - 1) + 1
        after.append(max(0, (out - 1) * form.stride[axis] + reach - size - form.padding[axis]))
    top, left = form.padding
    pads = (top, after[0], left, after[1])
    operator = Conv2d(form.weight, np.zeros(outputs), form.stride, pads, form.dilation, form.groups)
    found = operator.apply(seen.reshape(1, -1, *form.in_size).astype(np.float32))[0]
    return np.asarray(found[:, : layout.height, : layout.width].reshape(-1).astype(np.float64))


def _fire(population: Population, v: Array, driven: Array, whole: bool) -> tuple[Array, Array]:
    dynamics, thresholds = population.dynamics, np.broadcast_to(population.thresholds, population.size)
    if whole:
        kept = np.floor(v * round(dynamics.keep * 256) / 256)
        v = np.clip(kept + np.clip(driven, -(2**15), 2**15 - 1), -(2**15), 2**15 - 1)
    else:
        v = dynamics.keep * v + driven
    if dynamics.reset not in (HARD, SOFT):
        return v, v
    strict = dynamics.strict and not whole  # whole thresholds are one higher instead
    spikes = v > thresholds if strict else v >= thresholds
    return np.where(spikes, 0.0 if dynamics.reset == HARD else v - thresholds, v), spikes.astype(np.float64)
