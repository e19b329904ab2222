"""Synapses with weights of one byte: whole sums, scaled once, the same bits however the work is divided."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.engines.cpu import CpuEngine, Int8Engine
from synfire.engines.cpu.int8 import narrowed
from synfire.engines.cpu.narrow import quantised
from synfire.engines.reference import ReferenceEngine
from synfire.graph import Graph, Synapse, flatten
from synfire.graph.passes import simplify
from synfire.ops import Array, Kind, Operator, Signal
from synfire.ops.conv2d import Conv2d
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.testing.engines import run_in_blocks
from synfire.zoo import load, sample


def alone(operator: Operator, shape: tuple[int, ...], kind: Kind = Kind.SPIKE) -> Graph:
    return Graph({"s": operator}, (Synapse("x", "s"),), {"x": Signal(shape, kind)}, {"y": "s"})


def spikes(rng: np.random.Generator, shape: tuple[int, ...], percent: int) -> Array:
    return (rng.random(shape) * 100 < percent).astype(np.uint8)


def by_hand(weight: Array, bias: Array, around: Graph, x: Array, steps: int) -> Array:
    """`float32(whole sum) · scale + bias`, the sum by the reference's own step, which is exact for whole numbers."""
    _, scale = quantised(weight)
    total = run_in_blocks(ReferenceEngine().build(around), {"x": x}, [steps])[1]["y"]
    axes = (-1, *(1,) * (len(around.signals()["s"].shape) - 1))
    return total * scale.reshape(axes) + bias.reshape(axes)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    percent=st.sampled_from([0, 2, 10, 50, 100]),
    channels=st.sampled_from([1, 3, 8, 24, 64, 65, 130]),
    outputs=st.sampled_from([1, 7, 16, 24, 32, 50, 112]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
)
def test_a_convolution_sums_whole_numbers_and_scales_them_once(
    seed: int, percent: int, channels: int, outputs: int, stride: int, dilation: int
) -> None:
    rng = np.random.default_rng(seed)
    weight, bias = (
        rng.normal(size=(outputs, channels, 3, 3)).astype(np.float32),
        rng.normal(size=outputs).astype(np.float32),
    )
    how = {"stride": (stride, 1), "padding": (1, 1, 2, 1), "dilation": (1, dilation)}
    x = spikes(rng, (2, 2, channels, 6, 7), percent)
    whole = Conv2d(quantised(weight)[0], np.zeros_like(bias), **how)
    found = run_in_blocks(Int8Engine().build(alone(Conv2d(weight, bias, **how), x.shape[2:])), {"x": x}, [2])[1]["y"]
    np.testing.assert_array_equal(found, by_hand(weight, bias, alone(whole, x.shape[2:]), x, 2))


@pytest.mark.parametrize("outputs", [5, 16, 96, 128, 300])
@pytest.mark.parametrize("percent", [1, 30, 100])
def test_a_linear_synapse_of_more_inputs_than_fit_into_16_bits_sums_rightly(outputs: int, percent: int) -> None:
    rng = np.random.default_rng(outputs + percent)
    weight, bias = np.abs(rng.normal(size=(outputs, 1000))).astype(np.float32), np.ones(outputs, np.float32)
    x = spikes(rng, (3, 2, 1000), percent)
    whole = alone(Linear(quantised(weight)[0], np.zeros_like(bias)), (1000,))
    found = run_in_blocks(Int8Engine().build(alone(Linear(weight, bias), (1000,))), {"x": x}, [3])[1]["y"]
    np.testing.assert_array_equal(found, by_hand(weight, bias, whole, x, 3))


@pytest.mark.parametrize("model", ["svgg-digits", "sresnet-digits", "stransformer-digits", "srnn-digits"])
def test_batches_and_blocks_change_no_bit(model: str) -> None:
    graph = simplify(flatten(load(model)))
    everything = Graph(graph.operators, graph.synapses, graph.inputs, {name: name for name in graph.order()})
    one, other, steps = sample(graph, 3), sample(graph, 4), graph.steps or 6
    together = {name: np.concatenate([one[name], other[name]]) * np.float32(0.9) for name in one}
    program = Int8Engine().build(everything)
    wanted = run_in_blocks(program, together, [steps])[1]
    divided = run_in_blocks(program, together, [1, steps - 1])[1]
    for name, source in everything.outputs.items():
        signal = everything.signals()[source]
        assert wanted[name].tobytes() == divided[name].tobytes(), name
        for k in range(2):
            row = {each: array[k : k + 1] for each, array in together.items()}
            own = run_in_blocks(program, row, [steps])[1][name]
            assert own.tobytes() == (wanted[name][:, k : k + 1] if signal.timed else wanted[name][k : k + 1]).tobytes()


def test_a_model_fires_as_float32_does_with_the_quantised_weights() -> None:
    """Products of whole numbers and scales are rounded otherwise, which moves a spike now and then and no more."""
    graph, steps = simplify(flatten(load("stransformer-digits"))), 4
    layers = {name: name for name in graph if graph.operator(name).kind == "LIF"}
    rounded = dict(graph.operators)
    for name in narrowed(graph):
        whole, scale = quantised(rounded[name].parameters()["weight"])
        rounded[name] = copy.copy(rounded[name])
        object.__setattr__(rounded[name], "weight", whole * scale.reshape(-1, *(1,) * (whole.ndim - 1)))
    both = [
        run_in_blocks(engine().build(Graph(operators, graph.synapses, graph.inputs, layers)), sample(graph), [steps])[1]
        for engine, operators in ((Int8Engine, graph.operators), (CpuEngine, rounded))
    ]
    fired = [np.concatenate([found[name].ravel() for name in layers]) for found in both]
    assert fired[0].sum() > 100
    assert (fired[0] != fired[1]).sum() <= fired[0].sum() / 1000


def test_quantised_weights_are_off_by_half_a_step_at_most() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
    weight[1] = 0
    whole, scale = quantised(weight)
    assert np.abs(whole).max(axis=(1, 2)).tolist() == [127, 0, 127, 127]
    assert scale[1] == 1
    assert (np.abs(whole * scale[:, None, None] - weight) <= scale[:, None, None] / 2 * 1.001).all()


def test_what_is_no_spike_keeps_its_bits() -> None:
    rng = np.random.default_rng(0)
    graph = alone(Linear(rng.normal(size=(8, 6)).astype(np.float32), np.zeros(8, np.float32)), (6,), Kind.VALUE)
    x = {"x": rng.normal(size=(2, 1, 6)).astype(np.float32)}
    exact = run_in_blocks(CpuEngine().build(graph), x, [2])[1]["y"]
    np.testing.assert_array_equal(run_in_blocks(Int8Engine().build(graph), x, [2])[1]["y"], exact)
    assert "no synapse of it reads spikes" in Int8Engine.refusal(graph)


def test_neurons_behind_a_narrow_synapse_fire_on_its_current() -> None:
    rng = np.random.default_rng(1)
    linear = Linear(rng.normal(size=(40, 60)).astype(np.float32), rng.normal(size=40).astype(np.float32))
    synapses = (Synapse("x", "s"), Synapse("s", "n"))
    graph = Graph({"s": linear, "n": LIF()}, synapses, {"x": Signal((60,), Kind.SPIKE)}, {"y": "n"})
    x = {"x": spikes(rng, (6, 3, 60), 20)}
    current = run_in_blocks(Int8Engine().build(alone(linear, (60,))), x, [6])[1]["y"]
    neurons = Graph({"n": LIF()}, (Synapse("x", "n"),), {"x": Signal((40,), Kind.VALUE)}, {"y": "n"})
    wanted = run_in_blocks(ReferenceEngine().build(neurons), {"x": current}, [6])[1]["y"]
    found = run_in_blocks(Int8Engine().build(graph), x, [6])[1]["y"]
    assert 0 < wanted.mean() < 1
    np.testing.assert_array_equal(found, wanted)


def test_narrow_parameters_take_a_quarter() -> None:
    graph = alone(Linear(np.ones((10, 20), np.float32), np.ones(10, np.float32)), (20,))
    assert Int8Engine.refusal(graph) == ""
    assert CpuEngine.parameter_bytes(graph) - Int8Engine.parameter_bytes(graph) == 3 * 200
