"""Weights as bfloat16: the bits of the exact engine with rounded weights, however the work is divided."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire.engines.cpu import Bf16Engine, CpuEngine
from synfire.engines.cpu.int8 import narrowed
from synfire.engines.cpu.narrow import rounded
from synfire.engines.reference import ReferenceEngine
from synfire.graph import Graph, Synapse, flatten
from synfire.graph.passes import simplify
from synfire.ops import Array, Kind, Operator, Signal
from synfire.ops.conv2d import Conv2d
from synfire.ops.linear import Linear
from synfire.testing.engines import run_in_blocks
from synfire.zoo import load, sample


def alone(operator: Operator, shape: tuple[int, ...], kind: Kind = Kind.SPIKE) -> Graph:
    return Graph({"s": operator}, (Synapse("x", "s"),), {"x": Signal(shape, kind)}, {"y": "s"})


def spikes(rng: np.random.Generator, shape: tuple[int, ...], percent: int) -> Array:
    return (rng.random(shape) * 100 < percent).astype(np.uint8)


def outputs(engine: type, graph: Graph, x: Array) -> Array:
    return run_in_blocks(engine().build(graph), {"x": x}, [len(x)])[1]["y"]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    percent=st.sampled_from([0, 2, 10, 50, 100]),
    channels=st.sampled_from([1, 3, 8, 24, 64, 65, 130]),
    number=st.sampled_from([1, 7, 16, 24, 32, 50, 112, 130]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
)
def test_a_convolution_has_the_reference_bits_of_its_rounded_weights(
    seed: int, percent: int, channels: int, number: int, stride: int, dilation: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(number, channels, 3, 3)).astype(np.float32)
    bias = rng.normal(size=number).astype(np.float32)
    how = {"stride": (stride, 1), "padding": (1, 1, 2, 1), "dilation": (1, dilation)}
    x = spikes(rng, (2, 2, channels, 6, 7), percent)
    found = outputs(Bf16Engine, alone(Conv2d(weight, bias, **how), x.shape[2:]), x)
    wanted = outputs(ReferenceEngine, alone(Conv2d(rounded(weight), bias, **how), x.shape[2:]), x)
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("number", [5, 16, 96, 128, 300])
@pytest.mark.parametrize("percent", [1, 30, 100])
def test_a_linear_synapse_has_the_reference_bits_of_its_rounded_weights(number: int, percent: int) -> None:
    rng = np.random.default_rng(number + percent)
    weight, bias = rng.normal(size=(number, 700)).astype(np.float32), np.ones(number, np.float32)
    x = spikes(rng, (3, 2, 700), percent)
    found = outputs(Bf16Engine, alone(Linear(weight, bias), (700,)), x)
    assert found.tobytes() == outputs(ReferenceEngine, alone(Linear(rounded(weight), bias), (700,)), x).tobytes()


@pytest.mark.parametrize("model", ["svgg-digits", "sresnet-digits", "stransformer-digits", "srnn-digits"])
def test_a_model_has_the_bits_of_the_exact_engine_with_rounded_weights(model: str) -> None:
    graph, x = simplify(flatten(load(model))), sample(simplify(flatten(load(model))))
    operators = dict(graph.operators)
    for name in narrowed(graph):
        operators[name] = copy.copy(operators[name])
        object.__setattr__(operators[name], "weight", rounded(operators[name].parameters()["weight"]))
    everything = {name: name for name in graph.order()}
    steps = graph.steps or 6
    both = [
        run_in_blocks(engine().build(Graph(each, graph.synapses, graph.inputs, everything)), x, [steps])[1]
        for engine, each in ((Bf16Engine, graph.operators), (CpuEngine, operators))
    ]
    for name in everything:
        assert both[0][name].tobytes() == both[1][name].tobytes(), name


def test_the_nearest_bfloat16_is_taken_and_of_two_the_even_one() -> None:
    step = np.float32(2**-7)  # between bfloat16 numbers from 1 to 2
    given_ = np.array(
        [1 + step / 4, 1 + step * 3 / 4, 1 + step / 2, 1 + step * 3 / 2, -(1 + step / 4), 0.0], np.float32
    )
    assert rounded(given_).tolist() == [1.0, 1 + step, 1.0, 1 + 2 * step, -1.0, 0.0]


def test_a_weight_is_off_by_a_256th_of_itself_at_most() -> None:
    weight = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    off = np.abs(rounded(weight) - weight) / np.abs(weight)
    assert 1 / 600 < off.max() <= 1 / 256


def test_half_parameters_take_half() -> None:
    graph = alone(Linear(np.ones((10, 20), np.float32), np.ones(10, np.float32)), (20,))
    assert Bf16Engine.refusal(graph) == ""
    assert CpuEngine.parameter_bytes(graph) - Bf16Engine.parameter_bytes(graph) == 2 * 200
    values = alone(Linear(np.ones((10, 20), np.float32), np.ones(10, np.float32)), (20,), Kind.VALUE)
    assert "no synapse of it reads spikes" in Bf16Engine.refusal(values)
