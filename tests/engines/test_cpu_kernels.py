"""What the compiled engine rests on: zeros that may be skipped, memory that is shared, and memory that is lent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.engines.cpu import CpuEngine, tape
from synfire.engines.cpu.compiling import parts_of
from synfire.engines.cpu.lending import Lender
from synfire.engines.cpu.reach import Axis, joined
from synfire.engines.cpu.schedule import chains_of
from synfire.graph import Graph, Synapse, flatten
from synfire.graph.passes import simplify
from synfire.ops import Kind, Operator, Signal
from synfire.ops.add import Add
from synfire.ops.alif import ALIF
from synfire.ops.conv2d import Conv2d
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.testing.engines import check_engine, run_in_blocks
from synfire.zoo import load, sample


def awkward(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of which some are 0, −0, too small to be normal, or each other's opposite."""
    numbers = rng.choice([0.0, -0.0, 1e-42, -1e-42, 0.5, -0.5, 1 / 3, -1 / 3, 2.0**-126], size=shape)
    return np.where(rng.random(shape) < 0.5, numbers, rng.normal(size=shape)).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    percent=st.sampled_from([0, 1, 4, 10, 20, 50, 90, 99, 100]),
    values=st.booleans(),
    channels=st.sampled_from([3, 4, 8, 16, 17, 24, 64, 65]),
    outputs=st.sampled_from([7, 16, 24, 32, 50]),
)
def test_skipping_a_zero_gives_the_bits_of_adding_its_product_at_any_density(
    seed: int, percent: int, values: bool, channels: int, outputs: int
) -> None:
    rng = np.random.default_rng(seed)
    kind, shape = (Kind.VALUE if values else Kind.SPIKE), (2, 2, channels, 5, 6)
    x = (rng.random(shape) * 100 < percent).astype(kind.dtype)
    if values:
        x = np.where(x > 0, awkward(rng, shape), awkward(rng, shape) * np.float32(0))
    operators = {
        "conv": Conv2d(awkward(rng, (outputs, channels, 3, 3)), awkward(rng, (outputs,)) + 0, padding=(1, 1, 1, 1)),
        "linear": Linear(awkward(rng, (5, 6)), awkward(rng, (5,)) + 0),
    }
    synapses = (Synapse("x", "conv"), Synapse("x", "linear"))
    graph = Graph(operators, synapses, {"x": Signal(shape[2:], kind)}, {"c": "conv", "l": "linear"})
    check_engine(CpuEngine(), graph, {"x": x}, steps=2)


@pytest.mark.parametrize("channels", [7, 8, 64, 65])
@pytest.mark.parametrize("percent", [5, 60])
def test_a_convolution_of_counts_gives_the_reference_bits(channels: int, percent: int) -> None:
    rng = np.random.default_rng(channels)
    operators = {
        "sum": Add(),
        "conv": Conv2d(awkward(rng, (24, channels, 3, 3)), awkward(rng, (24,)) + 0, padding=(1, 1, 1, 1)),
    }
    synapses = (Synapse("x", "sum"), Synapse("z", "sum", 1), Synapse("sum", "conv"))
    signal = Signal((channels, 5, 6), Kind.SPIKE)
    graph = Graph(operators, synapses, {"x": signal, "z": signal}, {"y": "conv"})
    spikes = {name: (rng.random((2, 2, channels, 5, 6)) * 100 < percent).astype(np.uint8) for name in "xz"}
    check_engine(CpuEngine(), graph, spikes, steps=2)


@pytest.mark.parametrize("model", ["svgg-digits", "sresnet-digits", "stransformer-digits", "srnn-digits"])
def test_watching_every_operator_changes_no_bit(model: str) -> None:
    graph = simplify(flatten(load(model)))
    everything = Graph(graph.operators, graph.synapses, graph.inputs, {name: name for name in graph.order()})
    inputs, steps = sample(graph, 3), graph.steps or 6
    alone = run_in_blocks(CpuEngine().build(graph), inputs, [steps])[1]
    watched = run_in_blocks(CpuEngine().build(everything), inputs, [steps])[1]
    for name, source in graph.outputs.items():
        assert alone[name].tobytes() == watched[source].tobytes()


@settings(max_examples=200, deadline=None)
@given(
    inputs=st.integers(1, 12), kernel=st.integers(1, 5), stride=st.integers(1, 4), before=st.integers(0, 4),
    after=st.integers(0, 4), dilation=st.integers(1, 3),
)  # fmt: skip
def test_each_input_reaches_the_outputs_that_read_it(
    inputs: int, kernel: int, stride: int, before: int, after: int, dilation: int
) -> None:
    outputs = (inputs + before + after - dilation * (kernel - 1) - 1) // stride + 1
    axis = Axis(inputs, max(outputs, 0), kernel, stride, before, dilation)
    read = {
        (o * stride + tap * dilation - before, o, tap)
        for o in range(outputs)
        for tap in range(kernel)
        if 0 <= o * stride + tap * dilation - before < inputs
    }
    reached = {(at, output, tap) for at in range(inputs) for output, tap in axis.inside(at)}
    in_runs = {
        (at, run.start + k, run.taps[run.skipped + k])
        for at in range(inputs)
        for run in axis.runs(at)
        for k in range(run.length)
    }
    assert reached == read == in_runs


@settings(max_examples=100, deadline=None)
@given(
    together=st.integers(1, 4), places=st.integers(1, 5), channels=st.integers(1, 3), kernel=st.integers(1, 5),
    before=st.integers(0, 4), after=st.integers(0, 4),
)  # fmt: skip
def test_joined_neighbours_reach_with_the_same_weights_what_each_of_them_reaches(
    together: int, places: int, channels: int, kernel: int, before: int, after: int
) -> None:
    inputs = together * places
    axis = Axis(inputs, max(inputs + before + after - kernel + 1, 0), kernel, 1, before)
    weight = np.arange(1, 2 * channels * kernel + 1, dtype=np.float32).reshape(2, channels, 1, kernel)
    assert np.array_equal(_matrix(*joined(weight, axis, together)), _matrix(weight, axis))


def _matrix(weight: np.ndarray, axis: Axis) -> np.ndarray:
    """`(place and channel, output place, output)`: a row's weights as those of a linear synapse."""
    found = np.zeros((axis.inputs, weight.shape[1], axis.outputs, len(weight)), np.float32)
    for at in range(axis.inputs):
        for output, tap in axis.inside(at):
            found[at, :, output] = weight[:, :, 0, tap].T
    return found.reshape(axis.inputs * weight.shape[1], axis.outputs, len(weight))


@pytest.mark.parametrize(("channels", "kernel", "outputs"), [(1, 5, 12), (2, 5, 12), (3, 3, 12), (7, 3, 24)])
@pytest.mark.parametrize("percent", [3, 20, 100])
def test_places_of_few_channels_are_summed_in_pairs_to_the_same_bits(
    channels: int, kernel: int, outputs: int, percent: int
) -> None:
    rng, shape = np.random.default_rng(channels), (4, 3, channels, 6, 22)
    conv = Conv2d(awkward(rng, (outputs, channels, 3, kernel)), awkward(rng, (outputs,)) + 0, padding=(1, 1, 2, 1))
    synapses, arriving = (Synapse("x", "conv"), Synapse("conv", "lif")), {"x": Signal(shape[2:], Kind.SPIKE)}
    graph = Graph({"conv": conv, "lif": LIF(threshold=0.5)}, synapses, arriving, {"y": "lif"})
    lines = [line for chain in chains_of(parts_of(graph)) for line in chain.lines]
    assert [line.numbers[tape.CHANNELS] for line in lines if tape.WEIGHT in line.arrays] == [2 * channels]
    x = (rng.random(shape) * 100 < percent).astype(np.uint8)
    check_engine(CpuEngine(), graph, {"x": x}, steps=4)


@pytest.mark.parametrize("neuron", [LIF(threshold=0.5), LIF(threshold=0.5, reset="soft"), ALIF()])
def test_a_current_begins_anew_for_every_frame(neuron: Operator) -> None:
    rng = np.random.default_rng(2)
    conv = Conv2d(rng.normal(size=(24, 9, 3, 3)), rng.normal(size=24), padding=(1, 1, 1, 1))
    synapses = (Synapse("x", "conv"), Synapse("conv", "n"))
    x = np.zeros((6, 3, 9, 5, 7), np.uint8)
    x[::2] = rng.random((3, 3, 9, 5, 7)) < 0.3
    graph = Graph({"conv": conv, "n": neuron}, synapses, {"x": Signal(x.shape[2:], Kind.SPIKE)}, {"y": "n"})
    check_engine(CpuEngine(), graph, {"x": x}, steps=6)


def test_states_of_one_block_outlive_the_next_ones() -> None:
    graph = Graph({"n": LIF()}, (Synapse("x", "n"),), {"x": Signal((40,))}, {"y": "n"})
    program, x = CpuEngine().build(graph), np.full((2, 3, 40), 0.7, np.float32)
    first, outputs = program.run(program.initial_state(3), {"x": x}, 2)
    kept = {name: array.copy() for name, array in {**first, **outputs}.items()}
    state = first
    for _ in range(6):
        state, _ = program.run(state, {"x": x}, 2)
    assert all(array.tobytes() == {**first, **outputs}[name].tobytes() for name, array in kept.items())


def test_a_piece_comes_back_when_the_last_array_in_it_is_gone() -> None:
    lender = Lender()
    first, address = lender.lend(256)
    part = first[64:128]
    del first
    other, elsewhere = lender.lend(256)
    assert elsewhere != address
    del part
    assert lender.lend(256)[1] == address
    del other


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 3, 4), (2, 3)])
def test_an_input_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    graph = Graph({"n": LIF()}, (Synapse("x", "n"),), {"x": Signal((4,))}, {"y": "n"})
    program = CpuEngine().build(graph)
    with pytest.raises(UserError, match=r"give \(steps, batch, \*shape\)"):
        program.run(program.initial_state(3), {"x": np.zeros(shape, np.float32)}, 2)


def test_a_delay_from_outside_a_cycle_arrives_in_time() -> None:
    rng = np.random.default_rng(4)
    operators = {
        "join": Add(),
        "conv": Conv2d(rng.normal(size=(3, 3, 3, 3)), rng.normal(size=3), padding=(1, 1, 1, 1)),
        "lif": LIF(threshold=0.5),
    }
    synapses = (
        Synapse("x", "join", 0, 2),
        Synapse("lif", "join", 1, 1),
        Synapse("join", "conv"),
        Synapse("conv", "lif"),
    )
    graph = Graph(operators, synapses, {"x": Signal((3, 4, 5), Kind.SPIKE)}, {"s": "lif"})
    x = (rng.random((6, 2, 3, 4, 5)) < 0.3).astype(np.uint8)
    check_engine(CpuEngine(), graph, {"x": x}, steps=6)
