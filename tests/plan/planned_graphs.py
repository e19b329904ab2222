"""Small graphs to plan, and a strategy for random ones."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Signal
from synfire.ops.add import Add
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.conv2d import Conv2d
from synfire.ops.flatten import Flatten
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.mean_rate import MeanRate
from synfire.ops.operator import Operator


def chain(operators: dict[str, Operator], shape: tuple[int, ...]) -> Graph:
    """Operators one after the other."""
    names = ["x", *operators]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(names))
    return Graph(operators, synapses, {"x": Signal(shape, Kind.VALUE, Clock.REQUEST)}, {"y": names[-1]})


def linear(inputs: int, outputs: int) -> Linear:
    rng = np.random.default_rng(inputs * 1000 + outputs)
    return Linear(rng.normal(0, 0.5, (outputs, inputs)).astype(np.float32), np.zeros(outputs, np.float32))


def conv(inputs: int, outputs: int) -> Conv2d:
    rng = np.random.default_rng(inputs * 1000 + outputs)
    weight = rng.normal(0, 0.4, (outputs, inputs, 3, 3)).astype(np.float32)
    return Conv2d(weight, np.zeros(outputs, np.float32), padding=(1, 1, 1, 1))


def vgg() -> Graph:
    """Two blocks of Conv, LIF, pool, and a Linear readout."""
    return chain(
        {
            "encoder": ConstantCurrent(4),
            "conv1": conv(1, 4),
            "lif1": LIF(),
            "pool1": MaxPool2d((2, 2), (2, 2)),
            "conv2": conv(4, 8),
            "lif2": LIF(),
            "pool2": MaxPool2d((2, 2), (2, 2)),
            "flatten": Flatten(),
            "head": linear(32, 10),
            "rate": MeanRate(),
        },
        (1, 8, 8),
    )


def residual() -> Graph:
    """A spiking residual block between two layers: lif1 is read by the block and by its shortcut."""
    operators: dict[str, Operator] = {
        "encoder": ConstantCurrent(4), "conv1": conv(1, 4), "lif1": LIF(), "conv2": conv(4, 4), "lif2": LIF(),
        "add": Add(), "conv3": conv(4, 4), "lif3": LIF(),
    }  # fmt: skip
    synapses = (
        Synapse("x", "encoder"), Synapse("encoder", "conv1"), Synapse("conv1", "lif1"), Synapse("lif1", "conv2"),
        Synapse("conv2", "lif2"), Synapse("lif2", "add", 0), Synapse("lif1", "add", 1), Synapse("add", "conv3"),
        Synapse("conv3", "lif3"),
    )  # fmt: skip
    return Graph(operators, synapses, {"x": Signal((1, 6, 6), Kind.VALUE, Clock.REQUEST)}, {"y": "lif3"})


def recurrent() -> Graph:
    """A recurrent layer: lif1's spikes come back one step later through `back`."""
    operators: dict[str, Operator] = {
        "encoder": ConstantCurrent(4), "into": linear(6, 5), "join": Add(), "lif1": LIF(), "back": linear(5, 5),
        "head": linear(5, 3), "rate": MeanRate(),
    }  # fmt: skip
    synapses = (
        Synapse("x", "encoder"), Synapse("encoder", "into"), Synapse("into", "join", 0), Synapse("back", "join", 1),
        Synapse("join", "lif1"), Synapse("lif1", "back", 0, 1), Synapse("lif1", "head"), Synapse("head", "rate"),
    )  # fmt: skip
    return Graph(operators, synapses, {"x": Signal((6,), Kind.VALUE, Clock.REQUEST)}, {"y": "rate"})


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random graphs of Linear, LIF and Add over vectors of 4, with shortcuts and one-step cycles."""
    count = draw(st.integers(1, 9))
    operators: dict[str, Operator] = {"encoder": ConstantCurrent(draw(st.integers(1, 6)))}
    synapses = [Synapse("x", "encoder")]
    for i in range(count):
        name = f"op{i}"
        earlier = draw(st.sampled_from(list(operators)))
        kind = draw(st.sampled_from(["linear", "lif", "add"]))
        if kind == "add":
            operators[name] = Add()
            synapses += [Synapse(earlier, name, 0), Synapse(draw(st.sampled_from([*list(operators)[:-1]])), name, 1)]
        else:
            operators[name] = linear(4, 4) if kind == "linear" else LIF()
            synapses.append(Synapse(earlier, name))
    adds = [name for name, each in operators.items() if each.kind == "Add"]
    for name in adds:
        if draw(st.booleans()):
            later = draw(st.sampled_from([each for each in operators if each != "encoder"]))
            synapses.append(Synapse(later, name, 2, draw(st.integers(1, 2))))
    unread = set(operators) - {s.source for s in synapses if not s.delay_steps}
    outputs = {f"y{name}": name for name in operators if name in unread}
    return Graph(operators, tuple(synapses), {"x": Signal((4,), Kind.VALUE, Clock.REQUEST)}, outputs)
