"""Synapses with large weights are divided into tiles of outputs; that changes no bit."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.engines.cpu import lines, tape
from synfire.engines.cpu.engine import CpuEngine
from synfire.engines.cpu.program import CpuProgram
from synfire.graph import Graph, Synapse
from synfire.ops import Clock, Kind, Operator, Signal
from synfire.ops.adaptive_avg_pool2d import AdaptiveAvgPool2d
from synfire.ops.add import Add
from synfire.ops.alif import ALIF
from synfire.ops.constant_current import ConstantCurrent
from synfire.ops.conv1d import Conv1d
from synfire.ops.conv2d import Conv2d
from synfire.ops.flatten import Flatten
from synfire.ops.if_ import IF
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.testing.engines import check_engine, check_states_merge

KINDS = (Kind.SPIKE, Kind.COUNT, Kind.VALUE)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "TILED_BYTES", 0)
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1 << 12)


def graph_of(signal: Signal, *operators: Operator) -> Graph:
    names = ["x", *(f"op{k}" for k in range(len(operators)))]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(names))
    return Graph(dict(zip(names[1:], operators, strict=True)), synapses, {"x": signal}, {"y": names[-1]})


def arriving(rng: np.random.Generator, kind: Kind, shape: tuple[int, ...], density: float) -> np.ndarray:
    x = rng.random(shape) < density
    numbers = np.ones(shape) if kind is Kind.SPIKE else rng.integers(1, 4, shape)
    return (x * (rng.normal(size=shape) if kind is Kind.VALUE else numbers)).astype(kind.dtype)


def kinds_of_lines(graph: Graph) -> list[int]:
    return [line.numbers[tape.KIND] for part in CpuProgram(graph).parts for line in part.chain.lines]  # type: ignore[attr-defined]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_convolution_in_tiles_gives_the_reference_bits(data: st.DataObject) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels, outputs = draw(st.sampled_from([1, 3, 16, 70])), draw(st.sampled_from([128, 192]))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 4)))
    size = (draw(st.integers(1, 5)), draw(st.integers(2, 7)))
    padding = tuple(
        draw(st.integers(length - 1, length + 1)) for length in (kernel[0], kernel[0], kernel[1], kernel[1])
    )
    stride = (draw(st.integers(1, 2)), draw(st.integers(1, 3)))
    operator = Conv2d(rng.normal(size=(outputs, channels, *kernel)), rng.normal(size=outputs), stride, padding)
    kind, shape = draw(st.sampled_from(KINDS)), (3, 2, channels, *size)
    graph = graph_of(Signal(shape[2:], kind), operator, *draw(st.sampled_from([(), (LIF(),), (IF(),)])))
    assert tape.TILED in kinds_of_lines(graph)
    check_engine(CpuEngine(), graph, {"x": arriving(rng, kind, shape, draw(st.floats(0, 1)))}, steps=3)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    inputs=st.sampled_from([1, 65, 300]),
    outputs=st.sampled_from([256, 384]),
    batch=st.sampled_from([1, 3, 30]),
    density=st.floats(0, 1),
    kind=st.sampled_from(KINDS),
)
def test_a_linear_synapse_in_tiles_gives_the_reference_bits_for_any_batch(
    seed: int, inputs: int, outputs: int, batch: int, density: float, kind: Kind
) -> None:
    rng = np.random.default_rng(seed)
    operator = Linear(rng.normal(size=(outputs, inputs)), rng.normal(size=outputs))
    graph = graph_of(Signal((inputs,), kind), operator, LIF(threshold=rng.random(outputs)))
    assert tape.TILED in kinds_of_lines(graph)
    check_engine(CpuEngine(), graph, {"x": arriving(rng, kind, (4, batch, inputs), density)}, steps=4)


@pytest.mark.parametrize("padding", [1, 2])
def test_a_convolution_of_one_place_in_tiles_gives_the_reference_bits(padding: int) -> None:
    rng = np.random.default_rng(7)
    operator = Conv2d(rng.normal(size=(256, 40, 3, 3)), rng.normal(size=256), padding=(padding,) * 4)
    graph = graph_of(Signal((40, 1, 1), Kind.COUNT), operator, LIF())
    assert tape.TILED in kinds_of_lines(graph)
    check_engine(CpuEngine(), graph, {"x": arriving(rng, Kind.COUNT, (4, 3, 40, 1, 1), 0.3)}, steps=4)


@pytest.mark.parametrize("kind", [Kind.SPIKE, Kind.VALUE])
def test_tokens_in_tiles_give_the_reference_bits(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    graph = graph_of(Signal((70, 9), kind), Conv1d(rng.normal(size=(128, 70, 1)), rng.normal(size=128)), LIF())
    assert tape.TILED in kinds_of_lines(graph)
    check_engine(CpuEngine(), graph, {"x": arriving(rng, kind, (4, 2, 70, 9), 0.2)}, steps=4)


def test_what_stays_the_same_is_summed_once_and_fires_at_each_step() -> None:
    rng = np.random.default_rng(1)
    for synapse, shape in (
        (Linear(rng.normal(size=(256, 40)), rng.normal(size=256)), (40,)),
        (Conv2d(rng.normal(size=(128, 2, 3, 3)), rng.normal(size=128), padding=(1, 1, 1, 1)), (2, 4, 4)),
    ):
        graph = graph_of(Signal(shape, clock=Clock.REQUEST), ConstantCurrent(5), synapse, LIF())
        check_engine(CpuEngine(), graph, {"x": rng.normal(size=(3, *shape)).astype(np.float32)}, steps=5)


def test_two_synapses_of_one_shape_share_a_list_of_what_is_active() -> None:
    rng = np.random.default_rng(2)
    weight, bias = rng.normal(size=(128, 8, 1, 1)), rng.normal(size=128)
    operators = {"a": Conv2d(weight, bias), "b": Conv2d(-weight, bias), "sum": Add()}
    synapses = (Synapse("x", "a"), Synapse("x", "b"), Synapse("a", "sum"), Synapse("b", "sum", 1))
    graph = Graph(operators, synapses, {"x": Signal((8, 3, 3), Kind.SPIKE)}, {"y": "sum"})
    assert kinds_of_lines(graph).count(tape.LIST) == 1
    check_engine(CpuEngine(), graph, {"x": arriving(rng, Kind.SPIKE, (3, 2, 8, 3, 3), 0.3)}, steps=3)


def test_adaptive_neurons_behind_tiles_are_a_line_of_their_own() -> None:
    rng = np.random.default_rng(3)
    alif = ALIF(*(rng.random(256).astype(np.float32) for _ in range(4)))
    graph = graph_of(Signal((20,), Kind.SPIKE), Linear(rng.normal(size=(256, 20)), rng.normal(size=256)), alif)
    check_engine(CpuEngine(), graph, {"x": arriving(rng, Kind.SPIKE, (4, 2, 20), 0.3)}, steps=4)


def test_states_of_tiles_merge() -> None:
    rng = np.random.default_rng(4)
    synapse = Conv2d(rng.normal(size=(128, 3, 3, 3)), rng.normal(size=128), padding=(1, 1, 1, 1))
    graph = graph_of(Signal((3, 4, 4), Kind.SPIKE), synapse, LIF())
    check_states_merge(CpuEngine(), graph, {"x": arriving(rng, Kind.SPIKE, (3, 3, 3, 4, 4), 0.3)}, steps=3)


@pytest.mark.parametrize("threads", [2, 3])
def test_several_threads_give_the_reference_bits(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synfire.engines.cpu.chain.ENOUGH", 0)
    rng = np.random.default_rng(5)
    graph = graph_of(
        Signal((3, 6, 6), Kind.SPIKE),
        Conv2d(rng.normal(size=(24, 3, 3, 3)), rng.normal(size=24), padding=(1, 1, 1, 1)),
        LIF(),
        Conv2d(rng.normal(size=(128, 24, 3, 3)), rng.normal(size=128), (2, 2), (1, 1, 1, 1)),
        LIF(),
        Flatten(),
        Linear(rng.normal(size=(256, 1152)), rng.normal(size=256)),
        IF(),
    )
    x = arriving(rng, Kind.SPIKE, (4, 7, 3, 6, 6), 0.4)
    for _ in range(5):
        check_engine(CpuEngine(threads), graph, {"x": x}, steps=4)


@pytest.mark.parametrize("kind", KINDS)
def test_one_place_that_becomes_several_stays_what_it_is(kind: Kind) -> None:
    rng = np.random.default_rng(6)
    signal = Signal((5, 1, 1), kind)
    pooled = AdaptiveAvgPool2d((3, 2))
    x = arriving(rng, kind, (4, 3, 5, 1, 1), 0.4)
    check_engine(CpuEngine(), graph_of(signal, pooled), {"x": x}, steps=4)
    check_engine(CpuEngine(), graph_of(signal, pooled, LIF()), {"x": x}, steps=4)
    synapse = Linear(rng.normal(size=(256, 30)), rng.normal(size=256))
    graph = graph_of(signal, pooled, Flatten(), synapse, IF())
    assert len(CpuProgram(graph).parts) == 1
    check_engine(CpuEngine(), graph, {"x": x}, steps=4)
    every = Graph(graph.operators, graph.synapses, graph.inputs, {name: name for name in graph.operators})
    check_engine(CpuEngine(), every, {"x": x}, steps=4)
