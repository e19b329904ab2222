"""A stage's graph becomes populations and projections that mean the same, or is refused with the reason."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synfire import zoo
from synfire.base.errors import UserError
from synfire.devices.darwin3.compile import Options, compile_stage
from synfire.devices.darwin3.ir import CLOCK, Full, Network, Sparse
from synfire.devices.darwin3.limits import chip
from synfire.devices.darwin3.lower import FOLDED, OR, Q8, lower
from synfire.devices.darwin3.refusals import refusals
from synfire.devices.darwin3.whole import whole
from synfire.engines.darwin3 import Darwin3Program
from synfire.engines.reference import ReferenceEngine
from synfire.graph import Graph, Synapse
from synfire.graph.passes import simplify
from synfire.ops import Array, Kind, Operator, Signal
from synfire.ops.add import Add
from synfire.ops.alif import ALIF
from synfire.ops.avg_pool2d import AvgPool2d
from synfire.ops.conv2d import Conv2d
from synfire.ops.flatten import Flatten
from synfire.ops.lif import LIF
from synfire.ops.linear import Linear
from synfire.ops.max_pool2d import MaxPool2d
from synfire.ops.mean_rate import MeanRate
from synfire.ops.multiply import Multiply
from synfire.ops.self_attention import SelfAttention
from synfire.testing.darwin3_reference import random_stage, simulate


def chain(shape: tuple[int, ...], kind: Kind = Kind.SPIKE, **operators: Operator) -> Graph:
    names = ["x", *operators]
    synapses = tuple(Synapse(a, b) for a, b in itertools.pairwise(names))
    return Graph(operators, synapses, {"x": Signal(shape, kind)}, {"y": names[-1]})


def linear(outputs: int, inputs: int, seed: int = 0) -> Linear:
    rng = np.random.default_rng(seed)
    return Linear(rng.integers(-8, 9, (outputs, inputs)) / 8, rng.integers(-4, 5, outputs) / 8)


def conv(outputs: int, inputs: int, size: int = 3, padding: int = 1) -> Conv2d:
    rng = np.random.default_rng(outputs)
    return Conv2d(rng.integers(-8, 9, (outputs, inputs, size, size)) / 8, np.zeros(outputs), padding=(padding,) * 4)


def spikes(graph: Graph, steps: int, seed: int = 0) -> Array:
    shape = graph.inputs["x" if "x" in graph.inputs else "in0"].shape
    return (np.random.default_rng(seed).random((steps, 1, *shape)) < 0.4).astype(np.uint8)


def assert_means_the_same(graph: Graph, network: Network, steps: int = 5, seed: int = 0) -> None:
    (name,), x = graph.inputs, spikes(graph, steps, seed)
    program = ReferenceEngine().build(graph)
    _, wanted = program.run(program.initial_state(1), {name: x}, steps)
    emitted = simulate(network, {name: x.reshape(steps, -1)})
    for output, found in network.outputs.items():
        got = sum(emitted[source] @ rows.dense() for source, rows in found.terms)
        np.testing.assert_array_equal(got, wanted[output].reshape(steps, -1))


def assert_means_the_same_on_the_chip(graph: Graph, steps: int = 5) -> None:
    (name,), x = graph.inputs, spikes(graph, steps)
    program = Darwin3Program(graph, compile_stage(graph, chip(), Options(bits=16)))
    _, got = program.run(program.initial_state(1), {name: x}, steps)
    emitted = simulate(program.compiled.network, {name: x.reshape(steps, -1)}, whole=True)
    for output, found in program.compiled.network.outputs.items():
        if not found.membrane:
            wanted = sum(emitted[source] @ rows.dense() for source, rows in found.terms)
            np.testing.assert_array_equal(got[output].reshape(steps, -1), wanted)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_network_of_short_binary_fractions_spikes_exactly_as_its_graph(seed: int) -> None:
    graph = random_stage(seed)
    assert_means_the_same(graph, lower(graph), seed=seed % 1000)


@pytest.mark.parametrize(
    ("model", "operator", "reason"),
    [
        ("svgg-mnist", "encoder", "encodes analog values"),
        ("svgg-mnist", "features.2", "reads analog values from 'features.0'"),
        ("svgg-mnist", "readout", "readout over time"),
        ("sgnn-cora", "neighbours", "once a request"),
        ("stransformer-digits", "blocks.0.attn.attention", "multiplies signals by each other"),
        ("stransformer-digits", "stem.1.conv_bn.block.2", "maximum of values"),
        ("srnn-spoken", "alif1", "ALIF has no form"),
        ("srnn-spoken", "alif1.recurrent", "in a cycle with 'alif1"),
    ],
)
def test_what_a_crossbar_cannot_do_is_refused_with_the_reason(model: str, operator: str, reason: str) -> None:
    assert reason in refusals(simplify(zoo.load(model)))[operator]


@pytest.mark.parametrize("model", ["svgg-mnist", "scnn-mnist", "sresnet-digits", "srnn-digits"])
def test_all_layers_from_the_first_spikes_on_are_taken(model: str) -> None:
    graph = simplify(zoo.load(model))
    refused = refusals(graph)
    order = graph.order()
    first = next(i for i, name in enumerate(order) if graph.signals()[name].kind is Kind.SPIKE)
    assert {name for name in order[first + 1 :] if name in refused} <= {"readout"}


def test_a_product_of_spikes_and_attention_are_refused() -> None:
    both = Graph(
        {"and": Multiply()},
        (Synapse("x", "and", 0), Synapse("x", "and", 1)),
        {"x": Signal((4,), Kind.SPIKE)},
        {"y": "and"},
    )
    assert "a synapse's weight is fixed" in refusals(both)["and"]
    ports = tuple(Synapse("x", "attend", port) for port in range(3))
    attention = Graph({"attend": SelfAttention(scale=0.5)}, ports, {"x": Signal((4, 8), Kind.SPIKE)}, {"y": "attend"})
    with pytest.raises(UserError, match=r"'attend': it multiplies .*place it on cpu"):
        lower(attention)


@pytest.mark.parametrize(
    ("neuron", "reason"),
    [
        (LIF(tau=np.array([2.0, 3.0, 4.0])), "tau has 3 values; the neurons of a core share one decay register"),
        (LIF(threshold=1.0, v_reset=1.5), "threshold is not above"),
        (ALIF(), "no form of fixed synapses"),
    ],
)
def test_a_neuron_that_no_core_can_be_is_refused(neuron: Operator, reason: str) -> None:
    assert reason in refusals(chain((4,), fc=linear(3, 4), neuron=neuron))["neuron"]


def test_spikes_that_a_refused_operator_makes_are_welcome() -> None:
    graph = chain((4,), Kind.VALUE, fc=linear(3, 4), lif=LIF(), fc2=linear(2, 3), lif2=LIF())
    assert list(refusals(graph)) == ["fc", "lif"]


def test_a_readout_over_time_is_left_to_the_host() -> None:
    graph = chain((4,), fc=linear(3, 4), lif=LIF(), fc2=linear(2, 3), rate=MeanRate())
    assert list(refusals(graph)) == ["rate"]


def test_average_pooling_becomes_shared_places_and_adds_no_population() -> None:
    graph = chain((2, 4, 4), pool=AvgPool2d((2, 2), (2, 2)), conv=conv(3, 2), lif=LIF())
    network = lower(graph)
    (projection,) = network.projections
    assert list(network.populations) == ["lif"]
    assert FOLDED in network.approximations
    assert projection.place.reshape(2, 4, 4)[0, :2, :2].tolist() == [[0, 0], [0, 0]]
    assert_means_the_same(graph, network)


def test_overlapping_average_pooling_becomes_synapse_lists() -> None:
    graph = chain((2, 4, 4), pool=AvgPool2d((3, 3), (1, 1)), conv=conv(3, 2), lif=LIF())
    network = lower(graph)
    assert isinstance(network.projections[0].form, Sparse)
    program = ReferenceEngine().build(graph)  # ninths are no binary fractions: near the threshold a rounding may decide
    x = spikes(graph, 5)
    _, wanted = program.run(program.initial_state(1), {"x": x}, 5)
    assert np.mean(simulate(network, {"x": x.reshape(5, -1)})["lif"] != wanted["y"].reshape(5, -1)) < 0.02


@pytest.mark.parametrize(
    "then",
    [
        {"pool": AvgPool2d((2, 2), (2, 2))},
        {"one": conv(3, 2, size=1, padding=0)},
        {"pool": AvgPool2d((2, 2), (1, 1)), "flat": Flatten(), "fc": linear(4, 18)},
    ],
)
def test_linear_operators_in_a_row_are_multiplied_out(then: dict[str, Operator]) -> None:
    biased = Conv2d(conv(2, 2).weight, np.array([0.5, -0.25]), padding=(1, 1, 1, 1))
    graph = chain((2, 4, 4), conv=biased, **then, lif=LIF())
    network = lower(graph)
    assert list(network.populations) == ["lif"]
    assert_means_the_same(graph, network)


def test_maximum_pooling_of_spikes_becomes_or_neurons() -> None:
    graph = chain((2, 5, 5), pool=MaxPool2d((3, 3), (2, 2), (1, 1, 1, 1)))
    network = lower(graph)
    assert OR in network.approximations
    assert_means_the_same(graph, network)


def test_a_population_that_is_read_pooled_and_unpooled_gets_a_copy() -> None:
    operators = {
        "conv": conv(2, 2),
        "lif": LIF(),
        "pool": AvgPool2d((2, 2), (2, 2)),
        "pooled": conv(3, 2),
        "plain": conv(3, 2),
        "a": LIF(),
        "b": LIF(),
    }
    pairs = [
        ("x", "conv"),
        ("conv", "lif"),
        ("lif", "pool"),
        ("pool", "pooled"),
        ("lif", "plain"),
        ("pooled", "a"),
        ("plain", "b"),
    ]
    graph = Graph(
        operators, tuple(Synapse(*each) for each in pairs), {"x": Signal((2, 4, 4), Kind.SPIKE)}, {"a": "a", "b": "b"}
    )
    network = lower(graph)
    assert "lif:copy1" in network.populations
    assert_means_the_same(graph, network)


def test_the_shorter_way_of_a_residual_waits_in_delay_populations() -> None:
    operators = {
        "one": linear(6, 6, 1),
        "lif1": LIF(),
        "two": linear(6, 6, 2),
        "lif2": LIF(),
        "add": Add(),
        "lif3": LIF(),
    }
    pairs = [
        ("x", "one", 0),
        ("one", "lif1", 0),
        ("lif1", "two", 0),
        ("two", "lif2", 0),
        ("lif2", "add", 0),
        ("lif1", "add", 1),
        ("add", "lif3", 0),
    ]
    graph = Graph(operators, tuple(Synapse(*each) for each in pairs), {"x": Signal((6,), Kind.SPIKE)}, {"y": "lif3"})
    network = lower(graph)
    assert [network.latency[name] for name in ("lif1", "lif2", "lif3", "lif1+1")] == [0, 1, 2, 1]
    assert_means_the_same(graph, network)


def test_a_cycle_of_more_layers_than_steps_is_refused() -> None:
    operators = {"join": Add(), "a": LIF(), "fc": linear(4, 4), "b": LIF()}
    synapses = (
        Synapse("x", "join", 0),
        Synapse("b", "join", 1, 1),
        Synapse("join", "a"),
        Synapse("a", "fc"),
        Synapse("fc", "b"),
    )
    graph = Graph(operators, synapses, {"x": Signal((4,), Kind.SPIKE)}, {"y": "b"})
    with pytest.raises(UserError, match=r"more layers than its delays have time steps.*place it on cpu"):
        lower(graph)


def test_biases_hang_on_the_clock_and_start_with_the_synapse_that_brings_them() -> None:
    network = lower(chain((4,), fc=linear(3, 4), lif=LIF()))
    (bias,) = [each for each in network.projections if each.source == CLOCK]
    np.testing.assert_array_equal(bias.form.weight[:, 0], linear(3, 4).bias / 2)  # tau 2 halves what is charged


def test_a_decay_that_is_no_multiple_of_1_256_is_named() -> None:
    assert Q8 in lower(chain((4,), fc=linear(3, 4), lif=LIF(tau=3.0))).approximations
    assert Q8 not in lower(chain((4,), fc=linear(3, 4), lif=LIF(tau=4 / 3))).approximations


def test_spikes_are_added_to_what_a_linear_layer_gives() -> None:
    operators = {"fc": linear(6, 6), "add": Add(), "lif": LIF()}
    synapses = (Synapse("x", "fc"), Synapse("fc", "add", 0), Synapse("x", "add", 1), Synapse("add", "lif"))
    graph = Graph(operators, synapses, {"x": Signal((6,), Kind.SPIKE)}, {"y": "lif"})
    assert_means_the_same(graph, lower(graph))
    assert_means_the_same_on_the_chip(graph)


def test_vectors_longer_than_an_index_are_read_in_columns() -> None:
    graph = chain((5000,), fc=linear(30, 5000), lif=LIF(), wide=linear(4200, 30, 1), lif2=LIF(), out=linear(3, 4200, 2))
    graph = Graph(graph.operators, graph.synapses, graph.inputs, {"y": "out", "spikes": "lif2"})
    network = lower(graph)
    assert [each.form.in_shape for each in network.projections if each.source != CLOCK] == [
        (2, 2500),
        (1, 30),
        (2, 2100),
    ]
    assert_means_the_same_on_the_chip(graph, steps=2)


def test_all_channels_share_a_dendrite_where_only_a_linear_layer_reads_them() -> None:
    network = lower(chain((2, 4, 4), conv=conv(3, 2), lif=LIF(), flat=Flatten(), fc=linear(5, 48), out=LIF()))
    (read,) = [each for each in network.leaving("lif") if isinstance(each.form, Full)]
    assert read.form.in_shape == (1, 48)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bits=st.sampled_from([4, 6, 8, 16]))
def test_whole_numbers_fit_and_keep_the_ratio_of_weight_to_threshold(seed: int, bits: int) -> None:
    made = whole(lower(random_stage(seed)), bits)
    for each in made.network.projections:
        weights = each.form.rows.weights if isinstance(each.form, Sparse) else each.form.weight
        assert np.abs(weights).max(initial=0) <= 2 ** (bits - 1) - 1
        assert np.array_equal(weights, np.rint(weights))
    for name, population in made.network.populations.items():
        thresholds = population.thresholds.reshape(population.scales, -1)
        assert thresholds.min() >= 1
        assert thresholds.max() <= 2**15 - 1
        real = lower(random_stage(seed)).populations[name]
        if np.isfinite(real.thresholds).all():
            strict = int(population.dynamics.strict)
            wanted = np.broadcast_to(real.thresholds, real.size).reshape(real.scales, -1) * made.scales[name][:, None]
            assert np.abs(thresholds - strict - wanted).max() <= 1 or thresholds.min() == 1


def test_two_bits_cannot_hold_more_than_one() -> None:
    made = whole(lower(chain((4,), fc=linear(3, 4), lif=LIF())), 2)
    weights = {int(w) for each in made.network.projections for w in np.unique(each.form.weight)}
    assert weights <= {-1, 0, 1}
