"""The compiled engine gives the reference engine's bits."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.engines import ENGINES
from synfire.engines.cpu import CpuEngine
from synfire.engines.cpu.program import CpuProgram
from synfire.engines.cpu.schedule import Link
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Operator, Signal
from synfire.ops.add import Add
from synfire.ops.alif import ALIF
from synfire.ops.avg_pool1d import AvgPool1d
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.conv2d import Conv2d
from synfire.ops.if_ import IF
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.max_pool1d import MaxPool1d
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.mean_rate import MeanRate
from synfire.ops.parametric_lif import ParametricLIF
from synfire.ops.scale import Scale
from synfire.ops.shift import Shift
from synfire.ops.sum_pool2d import SumPool2d
from synfire.ops.threshold import Threshold
from synfire.testing.engines import check_engine, check_states_merge


def chain(signal: Signal, **operators: Operator) -> Graph:
    names = ["x", *operators]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(names))
    return Graph(operators, synapses, {"x": signal}, {name: name for name in operators})


def spikes(rng: np.random.Generator, shape: tuple[int, ...], density: float) -> np.ndarray:
    return (rng.random(shape) < density).astype(np.uint8)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_convolution_gives_the_reference_bits_for_any_geometry(data: st.DataObject) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups = draw(st.sampled_from([1, 1, 2]))
    channels, outputs = groups * draw(st.integers(1, 5)), groups * draw(st.sampled_from([1, 3, 16, 21, 40]))
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 3)))
    operator = Conv2d(
        rng.normal(size=(outputs, channels // groups, *kernel)),
        rng.normal(size=outputs),
        stride=(draw(st.integers(1, 2)), draw(st.integers(1, 3))),
        padding=tuple(draw(st.integers(0, 3)) for _ in range(4)),
        dilation=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        groups=groups,
    )
    kind = draw(st.sampled_from([Kind.SPIKE, Kind.VALUE, Kind.COUNT]))
    shape = (2, 2, channels, draw(st.integers(9, 11)), draw(st.integers(5, 12)))
    x = spikes(rng, shape, draw(st.floats(0, 1))).astype(kind.dtype)
    if kind is not Kind.SPIKE:
        x = (x * rng.normal(scale=3, size=shape)).astype(kind.dtype)
    if kind is Kind.COUNT:
        x = np.abs(x)
    check_engine(CpuEngine(), chain(Signal(shape[2:], kind), conv=operator), {"x": x}, steps=2)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    inputs=st.integers(1, 70),
    outputs=st.sampled_from([1, 10, 16, 33, 64, 100]),
    density=st.floats(0, 1),
    kind=st.sampled_from([Kind.SPIKE, Kind.VALUE]),
    tokens=st.booleans(),
)
def test_linear_gives_the_reference_bits(
    seed: int, inputs: int, outputs: int, density: float, kind: Kind, tokens: bool
) -> None:
    rng = np.random.default_rng(seed)
    operator = Linear(rng.normal(size=(outputs, inputs)), rng.normal(size=outputs))
    shape = (3, 2, 4, inputs) if tokens else (3, 2, inputs)
    x = spikes(rng, shape, density).astype(kind.dtype)
    if kind is Kind.VALUE:
        x *= rng.normal(size=shape).astype(np.float32)
    check_engine(CpuEngine(), chain(Signal(shape[2:], kind), linear=operator), {"x": x}, steps=3)


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_a_convolutional_net_gives_the_reference_bits_in_any_blocks_and_batches(name: str) -> None:
    rng = np.random.default_rng(3)
    graph = chain(
        Signal((2, 8, 8), Kind.VALUE, Clock.REQUEST),
        encode=ConstantCurrent(5),
        conv=Conv2d(rng.normal(size=(6, 2, 3, 3)), rng.normal(size=6), padding=(1, 1, 1, 1)),
        lif=LIF(),
        conv2=Conv2d(rng.normal(size=(4, 6, 3, 3)), rng.normal(size=4), stride=(2, 2)),
        lif2=LIF(tau=1.5),
        rate=MeanRate(),
    )
    inputs = {"x": rng.random((3, 2, 8, 8)).astype(np.float32)}
    check_engine(ENGINES[name](), graph, inputs, steps=5)
    check_states_merge(ENGINES[name](), graph, inputs, steps=5)


def recurrent_graph(delay_steps: int) -> Graph:
    rng = np.random.default_rng(5)
    operators = {
        "input": Linear(rng.normal(size=(7, 4)), rng.normal(size=7)),
        "join": Add(),
        "lif": LIF(threshold=0.5),
        "recurrent": Linear(rng.normal(size=(7, 7)), np.zeros(7)),
        "readout": Linear(rng.normal(size=(3, 7)), np.zeros(3)),
    }
    synapses = (
        Synapse("x", "input"),
        Synapse("input", "join", 0),
        Synapse("recurrent", "join", 1, delay_steps),
        Synapse("join", "lif"),
        Synapse("lif", "recurrent"),
        Synapse("lif", "readout", 0, 2),
    )
    return Graph(operators, synapses, {"x": Signal((4,))}, {"y": "readout", "s": "lif"})


@pytest.mark.parametrize("delay_steps", [1, 3])
def test_a_recurrent_net_with_delays_gives_the_reference_bits(delay_steps: int) -> None:
    x = np.random.default_rng(0).normal(size=(8, 2, 4)).astype(np.float32)
    check_engine(CpuEngine(), recurrent_graph(delay_steps), {"x": x}, steps=8)
    check_states_merge(CpuEngine(), recurrent_graph(delay_steps), {"x": x}, steps=8)


@pytest.mark.parametrize("neuron", [LIF(threshold=0.5), LIF(reset="soft"), ParametricLIF(0.3), ALIF(), IF()])
@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_a_recurrent_layer_gives_the_reference_bits(neuron: Operator, bias: float) -> None:
    rng = np.random.default_rng(2)
    recurrent = Linear(rng.normal(size=(21, 21)), np.full(21, bias))
    operators = {"input": Linear(rng.normal(size=(21, 4)), rng.normal(size=21)), "current": Add(), "neuron": neuron}
    synapses = (
        Synapse("x", "input"),
        Synapse("input", "current", 0),
        Synapse("recurrent", "current", 1, 1),
        Synapse("current", "neuron"),
        Synapse("neuron", "recurrent"),
    )
    graph = Graph({**operators, "recurrent": recurrent}, synapses, {"x": Signal((4,))}, {"s": "neuron"})
    x = rng.normal(size=(8, 3, 4)).astype(np.float32)
    check_engine(CpuEngine(), graph, {"x": x}, steps=8)
    check_states_merge(CpuEngine(), graph, {"x": x}, steps=8)
    watched = Graph(graph.operators, graph.synapses, graph.inputs, {"s": "neuron", "fed back": "recurrent"})
    check_engine(CpuEngine(), watched, {"x": x}, steps=8)


def test_a_recurrent_convolution_gives_the_reference_bits() -> None:
    rng = np.random.default_rng(9)
    operators = {
        "join": Add(),
        "conv": Conv2d(rng.normal(size=(3, 3, 3, 3)), rng.normal(size=3), padding=(1, 1, 1, 1)),
        "lif": LIF(threshold=0.5),
    }
    synapses = (Synapse("x", "join", 0), Synapse("lif", "join", 1, 1), Synapse("join", "conv"), Synapse("conv", "lif"))
    graph = Graph(operators, synapses, {"x": Signal((3, 4, 5), Kind.SPIKE)}, {"s": "lif"})
    check_engine(CpuEngine(), graph, {"x": spikes(rng, (6, 2, 3, 4, 5), 0.3)}, steps=6)
    check_states_merge(CpuEngine(), graph, {"x": spikes(rng, (6, 2, 3, 4, 5), 0.3)}, steps=6)


def test_warming_leaves_no_trace_in_later_answers() -> None:
    graph, x = recurrent_graph(1), np.ones((3, 2, 4), np.float32)
    program = CpuEngine().build(graph)
    before = program.run(program.initial_state(2), {"x": x}, 3)[1]
    program.warm()
    after = program.run(program.initial_state(2), {"x": x}, 3)[1]
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_pooling_gives_the_reference_bits_for_any_geometry(data: st.DataObject) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, size // 2)) for size in kernel for _ in range(2))
    which = draw(st.sampled_from([MaxPool2d, SumPool2d, AvgPool2d]))
    options = {"ceil_mode": draw(st.booleans())}
    if which is AvgPool2d:
        options |= {"count_include_pad": draw(st.booleans()), "divisor": draw(st.sampled_from([0, 3]))}
    operator = which(kernel, (draw(st.integers(1, 3)), draw(st.integers(1, 3))), padding, **options)
    kind = draw(st.sampled_from([Kind.SPIKE, Kind.VALUE, Kind.COUNT]))
    shape = (2, 2, draw(st.integers(1, 5)), draw(st.integers(5, 9)), draw(st.integers(5, 9)))
    x = spikes(rng, shape, 0.4).astype(kind.dtype)
    if kind is not Kind.SPIKE:
        x = (x * rng.normal(scale=3, size=shape)).astype(kind.dtype)
    if kind is Kind.COUNT:
        x = np.abs(x)
    check_engine(CpuEngine(), chain(Signal(shape[2:], kind), pool=operator), {"x": x}, steps=2)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pooling_of_sequences_is_compiled_and_gives_the_reference_bits(data: st.DataObject) -> None:
    draw = data.draw
    rng, kernel = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(1, 3))
    padding, ceil = tuple(draw(st.integers(0, kernel // 2)) for _ in range(2)), draw(st.booleans())
    stride = (draw(st.integers(1, 3)),)
    operator = draw(
        st.sampled_from(
            [
                MaxPool1d((kernel,), stride, padding, ceil),
                MaxPool1d((kernel,), stride, (0, 0), ceil, (2,)),
                AvgPool1d((kernel,), stride, padding, ceil, draw(st.booleans())),
            ]
        )
    )
    kind, shape = draw(st.sampled_from([Kind.SPIKE, Kind.VALUE, Kind.COUNT])), (2, 2, draw(st.integers(1, 20)), 11)
    x = (spikes(rng, shape, 0.4) * (1 if kind is Kind.SPIKE else np.abs(rng.normal(scale=3, size=shape)))).astype(
        kind.dtype
    )
    graph = chain(Signal(shape[2:], kind), pool=operator)
    assert [type(part) for part in CpuProgram(graph).parts] == [Link]
    check_engine(CpuEngine(), graph, {"x": x}, steps=2)


PER_CHANNEL = np.linspace(-1, 1, 5, dtype=np.float32).reshape(5, 1, 1)


@pytest.mark.parametrize("kind", [Kind.SPIKE, Kind.VALUE, Kind.COUNT])
@pytest.mark.parametrize(
    "operator",
    [
        *(each for value in (0.3, PER_CHANNEL) for each in (Scale(value), Shift(value))),
        *(Threshold(value, strict) for value in (1.0, PER_CHANNEL) for strict in (False, True)),
    ],
    ids=lambda operator: operator.kind,
)
def test_what_works_number_by_number_is_compiled_and_gives_the_reference_bits(operator: Operator, kind: Kind) -> None:
    rng = np.random.default_rng(1)
    conv = Conv2d(rng.normal(size=(5, 5, 3, 3)), rng.normal(size=5), padding=(1, 1, 1, 1))
    x = (rng.integers(0, 3, (4, 2, 5, 4, 6)) * (0.5 if kind is Kind.VALUE else 1)).clip(
        0, 1 if kind is Kind.SPIKE else 2
    )
    for graph in (
        chain(Signal((5, 4, 6), kind), operator=operator),
        chain(Signal((5, 4, 6), kind), conv=conv, operator=operator, again=conv, lif=LIF()),
    ):
        assert [type(part) for part in CpuProgram(graph).parts] == [Link]
        check_engine(CpuEngine(), graph, {"x": x.astype(kind.dtype)}, steps=4)
